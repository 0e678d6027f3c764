#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""failoverd above many pairs of stand-in guests: what it costs while nothing happens, and how soon it acts.

The guests are stand-ins (guests.c): agents on real unix sockets that speak the real protocol, and a process for
each QEMU. libvirt is one too (hypervisor.c), preloaded in front of the real library; failoverd is the real one.

 - Idle: processor time of failoverd over a while, against that of a bare loop (echo-loop.c) beside it that writes and
   reads lines of the same size on as many sockets as often, and parses nothing; resident memory.
 - Event to first action: from the moment at which a stand-in agent reports a major failure until `stop` arrives
   at it, and from the moment at which the hypervisor is told of a kernel panic until failoverd calls it to
   suspend that VM. All other pairs go on idling meanwhile; failovers before may still be rebuilding their VMs.
   How long one program waits for another's answer on this machine at that time is told beside it.
"""
import os
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))

import reaped                                           # noqa: E402
from report import Report                               # noqa: E402
from testbed.failoverd import Failoverd                 # noqa: E402
from testbed.guests import BUILD                        # noqa: E402
from testbed.session import Session                     # noqa: E402
from testbed.stand import Lock                          # noqa: E402
from testbed.wait import until                          # noqa: E402

PAIRS = 200
BEAT_MSEC = 500         # the policy's default
IDLE_WHILES, IDLE_SECONDS = 5, 8   # what a wake-up costs changes from one while to the next
SAMPLES = 300           # of each kind of event
SPACING_SECONDS = 0.05
MIB = 1 << 20

PAIR = """\
  - name: p{0:03d}
    active: {{domain: p{0:03d}-a, base: 192MiB}}
    standby: {{domain: p{0:03d}-b, base: 192MiB}}
    flap: {{failovers: 16, within: 1min}}
    applications:
      - name: db-p{0:03d}
        kind: hot-standby
        memory: 128MiB
        start: {{command: [/bin/db]}}
        severity: [{{signal: any, is: major}}]
"""


def policy():
    return ("version: 1\nhypervisor: qemu:///session\n"
            f"pool: {{memory: {PAIRS}GiB, reserve: 64MiB, extent: 32MiB, monitor: 64MiB, overhead: 128MiB}}\n"
            "pairs:\n" + "".join(PAIR.format(i) for i in range(PAIRS)))


class Talker:
    """A program that answers lines on its input with lines on its output."""

    def __init__(self, session, *command):
        with open(session.path("talker.log"), "ab") as errors:
            self.process = subprocess.Popen(command, cwd=session.dir, env=session.env, stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=errors, text=True, bufsize=1,
                                            **session.as_user)
        if self.hear() != "ready":
            raise RuntimeError(f"{command[0]} did not start: see {session.path('talker.log')}")

    def hear(self):
        return self.process.stdout.readline().strip()

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        return self.hear()

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)


def cpu_seconds(pid):
    """Of all its threads, exact to nanoseconds where /proc counts ticks: clock_getcpuclockid(3) as Linux numbers it."""
    return time.clock_gettime((~pid << 3) | 2)


def cpu_shares(pids, seconds):
    """Processor time that processes take in the same while, as shares of one processor."""
    began, used = time.monotonic(), [cpu_seconds(pid) for pid in pids]
    time.sleep(seconds)     # the measurement itself
    return [(cpu_seconds(pid) - before) / (time.monotonic() - began) for pid, before in zip(pids, used)]


def peak_mib(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) / 1024 for line in f if line.startswith("VmHWM:"))


def start(session):
    """The stand-in guests with failoverd above them, all pairs armed."""
    session.make_dir("libvirt/qemu/run")
    guests = Talker(session, session.copy(f"{BUILD}/tests/bench/stand-in-guests", "stand-in-guests"), session.dir,
                    str(PAIRS))
    failoverd = Failoverd(session)
    session.env.update(LD_PRELOAD=session.copy(f"{BUILD}/tests/bench/stand-in-hypervisor.so", "hypervisor.so"),
                       STAND_IN_DIR=session.dir)
    failoverd.start(policy(), 60)
    del session.env["LD_PRELOAD"]
    wait_armed(failoverd, 120)
    return guests, failoverd


def wait_armed(failoverd, seconds):
    def states():
        return [pair["state"] for pair in failoverd.json("status")["pairs"]]

    until(lambda: states().count("armed") == PAIRS, seconds,
          lambda: f"all pairs are armed; {states().count('armed')} of {PAIRS} are")


def measure_idle(report, session, guests, failoverd):
    running, n_ping, n_pong = guests.ask("running").split()
    if int(running) != PAIRS:
        raise RuntimeError(f"{running} of {PAIRS} applications run")
    echo = Talker(session, session.copy(f"{BUILD}/tests/bench/echo-loop", "echo-loop"), str(2 * PAIRS), str(BEAT_MSEC),
                  n_ping, n_pong)
    # in the same while: what a wake-up costs on a machine depends on what else keeps its processors awake
    shares = [cpu_shares([failoverd.process.pid, echo.process.pid], IDLE_SECONDS) for _ in range(IDLE_WHILES)]
    echo.close()
    share, bare = (statistics.median(column) for column in zip(*shares))
    ratios = [own / other for own, other in shares]
    memory = peak_mib(failoverd.process.pid)
    report.add("idle-cpu", share * 100, "%", pairs=PAIRS, seconds=IDLE_WHILES * IDLE_SECONDS)
    report.add("idle-cpu-of-bare-loop", bare * 100, "%", ping_bytes=int(n_ping), pong_bytes=int(n_pong))
    report.add("idle-cpu-by-bare-loop", statistics.median(ratios), "ratio", "<=", 2, least=min(ratios),
               most=max(ratios))
    report.add("memory-peak", memory, "MiB", "<", 64)


def measure_first_action(report, guests, event):
    samples, waits = [], []
    for i in range(10 * SAMPLES):
        began = time.monotonic()
        guests.ask("running")
        waits.append((time.monotonic() - began) * 1000)
        answer = guests.ask(f"{event} {i % PAIRS}")
        if answer != "nothing":     # its application does not run at the moment
            samples.append(float(answer) / 1000)
        if len(samples) == SAMPLES:
            break
        time.sleep(SPACING_SECONDS) # spreads the events; nothing is waited for
    if len(samples) < SAMPLES:
        raise RuntimeError(f"only {len(samples)} of {SAMPLES} events could be measured")
    samples.sort()
    report.add(f"{event}-to-first-action-median", statistics.median(samples), "ms", "<=", 5, samples=SAMPLES)
    waits.sort()
    report.add(f"{event}-program-to-program-p99", waits[len(waits) * 99 // 100 - 1], "ms")
    report.add(f"{event}-to-first-action-p99", samples[SAMPLES * 99 // 100 - 1], "ms", "<=", 20, worst=samples[-1])


def run(report):
    session = Session()
    failoverd = None
    try:
        session.start_bus()
        guests, failoverd = start(session)
        measure_idle(report, session, guests, failoverd)
        for event in ("fail", "panic"):
            measure_first_action(report, guests, event)
            wait_armed(failoverd, 120)
        guests.close()
    finally:
        if failoverd:
            failoverd.close()
        session.close()


def main():
    lock, report = Lock(), Report()
    try:
        run(report)
    finally:
        report.save()
        lock.release()
    return 0


if __name__ == "__main__":
    reaped.run(main)
