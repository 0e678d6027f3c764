#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How long a failover takes, against what it cannot be quicker than, measured on the same guests in one run.

Floor of an OS failure = max(freeze the failed VM, plug the region until the guest sees it) + one agent round
trip + the application's own start. Where a disk moves the failed VM has to be gone: freeze and SIGKILL until its pidfd
is readable, in place of freeze. What a recovery takes beyond it is shown in parts:

  fault-to-event   of a panic: the guest's last words, and libvirt's event
  plug             beside freeze and kill. A small guest has one processor, and plugs slower while anything else is
                   asked of it: a disk that was attached meanwhile, for which its kernel sets up a PCI device, made it
                   take twice as long. So a disk is attached when the memory is seen
  memory-to-start  what the start waited for once the memory was there: attaching the disk, else nothing

Every figure is a median, and is printed as

    NAME VALUE UNIT target OP VALUE ok|MISS

bench.json in the build directory has them all. A missed target is a line, not an error.
"""
import os
import re
import select
import signal
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))

import reaped                                           # noqa: E402
from report import Report                               # noqa: E402
from testbed.agent import AgentChannel                  # noqa: E402
from testbed.policy import DB, policy                   # noqa: E402
from testbed.stand import BOOT_SECONDS, Lock, Stand     # noqa: E402
from testbed.wait import until                          # noqa: E402
from timeline import Trace, os_failure_parts            # noqa: E402

REGION_MIB = 512
FLOOR_ROUNDS = 5
FAILOVER_ROUNDS = 5
HANG_ROUNDS = 5
BALLOON_ROUNDS = 6
SETTLE_BEATS = 10
BEAT_SECONDS = 0.5
APPLICATION = DB.replace("128MiB", f"{REGION_MIB}MiB").replace('"96"', '"8"')
POLICY = policy(pool="2GiB", applications=(APPLICATION,))
WITH_DISK = policy(pool="2GiB", applications=(APPLICATION + "        resources: {disks: [vdb]}\n",))
DISK_MIB = 16


class Virsh:
    """virsh, a process a command. What starting it and connecting take is measured once and taken off, so that a call's
    time is the call's. (One virsh that takes commands through a pipe holds back what it has printed.)"""

    def __init__(self, session):
        self._session = session
        self._idle = statistics.median(self._run("uri") for _ in range(5))

    def _run(self, *words):
        began = time.monotonic()
        self._session.virsh(*words)
        return time.monotonic() - began

    def __call__(self, command):
        """Runs a command and returns the seconds that it took."""
        return max(self._run(*command.split()) - self._idle, 0)


def plug(stand, virsh, vm):
    """Seconds from the request until the guest's kernel counts the memory as its own."""
    watcher = f"fill wait 1 {REGION_MIB} > /dev/console 2>&1 & echo watching"
    console = stand.guests[vm]
    stand.shell(vm, watcher)
    seen = console.text.count("fill: the memory is there")
    began = time.monotonic()
    virsh(f"update-memory-device {vm} --alias ua-db --requested-size {REGION_MIB}MiB")
    console.wait_text("fill: the memory is there", seen + 1, 30)
    return time.monotonic() - began


def start(channel, number):
    """Seconds from asking the agent to start the application until it answers that it runs."""
    _, took = channel.ask("result", type="start", id=number, app="db", token=number, node=1,
                          bytes=REGION_MIB << 20)
    channel.ask("result", type="stop", id=number + 1000, app="db")
    return took


def boot(stand, vm):
    """A guest that has never run the application, as a failover finds its standby."""
    if stand.guests.state(vm) == "running":
        stand.session.virsh("destroy", vm)
    stand.session.virsh("start", vm)
    stand.guests[vm].wait_ready(BOOT_SECONDS)


def end(stand, virsh, vm):
    """Seconds from freezing a guest until its process is gone."""
    pidfd = os.pidfd_open(stand.guests.pid(vm))
    try:
        frozen = virsh(f"suspend {vm}")
        began = time.monotonic()
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        select.select([pidfd], [], [])
        return frozen + time.monotonic() - began
    finally:
        os.close(pidfd)


def standing_by(stand, vm):
    """The agent of a guest that has stood by for a while, with the heart beating as under failoverd."""
    channel = AgentChannel(stand.session.path(f"s/{vm}.agent"))
    channel.send(type="configure", specs=[{
        "app": "db", "node": 1, "memory_bytes": REGION_MIB << 20, "stop_timeout_usec": 2000000,
        "health_interval_usec": 500000, "health_timeout_usec": 500000, "health_failures": 3,
        "start": ["/usr/bin/fill", "run", "db", "8"], "health": ["/usr/bin/fill", "check", "db"]}])
    for beat in range(SETTLE_BEATS):
        channel.ask("pong", type="ping", nonce=beat)
        time.sleep(BEAT_SECONDS)
    return channel


def floor(stand):
    """Medians of its parts, in seconds. The guest of each round has been booted anew, as the standby of each failover;
    what a second start on the same guest takes is there to compare."""
    virsh = Virsh(stand.session)
    parts = {"freeze": [], "plug": [], "round-trip": [], "start": [], "start-again": []}
    boot(stand, "a")
    for number in range(1, FLOOR_ROUNDS + 1):
        boot(stand, "b")
        channel = standing_by(stand, "b")
        parts["freeze"].append(virsh("suspend a"))
        virsh("resume a")
        parts["plug"].append(plug(stand, virsh, "b"))
        parts["round-trip"].append(channel.ask("pong", type="ping", nonce=number)[1])
        parts["start"].append(start(channel, number))
        parts["start-again"].append(start(channel, FLOOR_ROUNDS + number))
        channel.close()
    boot(stand, "b")
    return {name: statistics.median(values) for name, values in parts.items()}


def floor_of_kill(stand):
    """Median, of guests that hold as much memory as one that fails."""
    virsh, taken = Virsh(stand.session), []
    for _ in range(FLOOR_ROUNDS):
        boot(stand, "a")
        plug(stand, virsh, "a")
        taken.append(end(stand, virsh, "a"))
    return statistics.median(taken)


def phase(flow, name):
    return next(p["since_start_usec"] for p in flow["phases"] if p["phase"] == name) / 1e6


def failovers(stand, rounds, cause):
    """That many failovers, one after the other: history's flow of each, and what os_failure_parts() takes."""
    trace, done = Trace(stand.session.path("failoverd.log")), []
    for _ in range(rounds):
        stand.wait_armed()
        until(lambda: stand.application("db")["healthy"], 60, "the application is healthy")
        before, active, standby = stand.n_flows(), stand.active, stand.standby
        trace.mark()
        fault = cause(active)
        flow = stand.wait_failover(before, 60)
        if not flow["ok"]:
            raise RuntimeError(f"a failover failed: {flow}")
        done.append((flow, (trace.lines(), active, standby, fault)))
    return done


def kill_qemu(stand, vm):
    """Returns the instant."""
    pid, now = stand.guests.pid(vm), time.clock_gettime(time.CLOCK_BOOTTIME)
    os.kill(pid, signal.SIGKILL)
    return now


def recovery_seconds(flow, parts):
    """From the fault itself: history begins there where a drill caused it, else with what failoverd was told."""
    told = 0 if flow["phases"][0]["phase"] == "fault" else parts["fault-to-event"]
    return flow["recovery_usec"] / 1e6 + told


def report_recovery(report, stand, name, cause, least):
    """Recovery, by the floor in seconds, and where the time goes (timeline.py)."""
    done = failovers(stand, FAILOVER_ROUNDS, cause)
    parts = [os_failure_parts(*traced) for _, traced in done]
    recovery = statistics.median(recovery_seconds(flow, of) for (flow, _), of in zip(done, parts))
    report.add(f"recovery-{name}", recovery * 1000, "ms")
    for part in parts[0]:
        report.add(f"recovery-{name}-{part}", statistics.median(p[part] for p in parts) * 1000, "ms")
    report.add(f"recovery-{name}-by-floor", recovery / least, "ratio", "<=", 1.25)


def least(parts, fence):
    """`start` went through the agent, so it has the round trip in it."""
    return max(parts[fence], parts["plug"]) + parts["start"]


def drill(stand, fault):
    def cause(_):
        stand.failoverd.ctl("drill", "p", "--fault", fault)
    return cause


def hangs(stand, rounds):
    """Seconds from the fault to the decision, to the application's start, and those of silence that the decision rests
    on, of that many hangs. A fault comes somewhere between two heartbeats: from it to the decision it takes up to one
    of them less than the silence. By the settings that is 2 s; what is on top is time in which QEMU waited for a
    processor, which a busy host gives it none of, and in which nothing was looked at."""
    flows = [flow for flow, _ in failovers(stand, rounds, drill(stand, "hang"))]
    causes = [(flow["cause"], re.search(r"answered for (\d+) ms", flow["cause"])) for flow in flows]
    for cause, found in causes:
        if not found:  # its watchdog was faster, say: that tells of no silence
            print(f"recovery: a hang that was not decided on silence: {cause}", flush=True)
    silent = [int(found[1]) / 1000 for _, found in causes if found]
    return [phase(flow, "decided") for flow in flows], [flow["recovery_usec"] / 1e6 for flow in flows], silent


def run(report):
    with Stand(POLICY, "p", ("a", "b"), 192, [("db", REGION_MIB)], start=False) as stand:
        parts = floor(stand)
        for name, value in parts.items():
            report.add(f"floor-{name}", value * 1000, "ms")
        report.add("floor-os-failure", least(parts, "freeze") * 1000, "ms")

        stand.failoverd.start(POLICY, options=("--debug",))
        report_recovery(report, stand, "panic", drill(stand, "panic"), least(parts, "freeze"))
        report_recovery(report, stand, "qemu-killed", lambda vm: kill_qemu(stand, vm), least(parts, "freeze"))
        check_paths(stand, echo=True)
        decided, recovered, silent = hangs(stand, HANG_ROUNDS)
        report.add("hang-decided", statistics.median(decided), "s", "<=", 2, rounds=decided)
        if silent:
            report.add("hang-decided-after-silence", statistics.median(silent), "s", rounds=silent)
        report.add("hang-recovery", statistics.median(recovered), "s")
    return parts


def run_with_disk(report, parts):
    """The same where a disk moves along; `parts` of the floor are those of the other stand."""
    def options(session, _):
        return [f"--kept-disk=vdb:{session.make_disk('img/db.raw', DISK_MIB)}"]

    with Stand(WITH_DISK, "p", ("a", "b"), 192, [("db", REGION_MIB)], domain_options=options, start=False) as stand:
        parts["kill"] = floor_of_kill(stand)
        report.add("floor-kill", parts["kill"] * 1000, "ms")
        report.add("floor-os-failure-disk", least(parts, "kill") * 1000, "ms")
        boot(stand, "b")
        stand.failoverd.start(WITH_DISK, options=("--debug",))
        report_recovery(report, stand, "panic-disk", drill(stand, "panic"), least(parts, "kill"))


def check_paths(stand, echo):
    """What is measured is what is named: failoverd itself has to say which second paths it has."""
    def works(path):
        return [next(p["works"] for p in member["second_paths"] if p["path"] == path)
                for member in stand.status()["members"]]

    stand.wait_armed()
    until(lambda: all(works("balloon")) and (not echo or all(works("echo"))), 30, "the second paths are heard")
    if not echo and any(works("echo")):
        raise RuntimeError("a guest without an echo port echoes")


def run_balloon_only(report):
    """A hang without the quick second path: balloon statistics alone. They are renewed once a second and tell whole
    seconds, so that what counts as silence, three seconds by their own time, is over between one and three seconds
    after the guest has stopped; the heartbeats take up to one and a half of them."""
    with Stand(POLICY, "p", ("a", "b"), 192, [("db", REGION_MIB)], domain_options=("--echo", "none")) as stand:
        check_paths(stand, echo=False)
        decided, *_ = hangs(stand, BALLOON_ROUNDS)
        check_paths(stand, echo=False)
        report.add("hang-decided-balloon-only", statistics.median(decided), "s", rounds=decided)
        report.add("hang-decided-balloon-only-longest", max(decided), "s", "<=", 3)


def main():
    lock, report = Lock(), Report()
    try:
        run_with_disk(report, run(report))
        run_balloon_only(report)
    finally:
        report.save()
        lock.release()
    return 0


if __name__ == "__main__":
    reaped.run(main)
