#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How long a failover takes, against what it cannot be quicker than, measured on the same guests in one run.

Floor of an OS failure = max(freeze the failed VM, plug the region until the guest sees it) + one agent round
trip + the application's own start. Every figure is a median, and is printed as

    NAME VALUE UNIT target OP VALUE ok|MISS

bench.json in the build directory has them all. A missed target is a line, not an error.
"""
import os
import signal
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))

from report import Report                               # noqa: E402
from testbed.agent import AgentChannel                  # noqa: E402
from testbed.policy import DB, policy                   # noqa: E402
from testbed.stand import Lock, Stand                   # noqa: E402
from testbed.wait import until                          # noqa: E402

REGION_MIB = 512
FLOOR_ROUNDS = 5
FAILOVER_ROUNDS = 5
HANG_ROUNDS = 3
APPLICATION = DB.replace("128MiB", f"{REGION_MIB}MiB").replace('"96"', '"8"')
POLICY = policy(pool="2GiB", applications=(APPLICATION,))


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

    def close(self):
        pass


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


def unplug(stand, virsh, vm):
    virsh(f"update-memory-device {vm} --alias ua-db --requested-size 0")
    until(lambda: int(stand.shell(vm, "awk '/MemTotal/ {print $4}' /sys/devices/system/node/node1/meminfo")) < 8192,
          60, f"{vm} gives the memory back")


def start(channel, number):
    """Seconds from asking the agent to start the application until it answers that it runs."""
    _, took = channel.ask("result", type="start", id=number, app="db", token=number, node=1,
                          bytes=REGION_MIB << 20)
    channel.ask("result", type="stop", id=number + 1000, app="db")
    return took


def floor(stand):
    """Medians of its parts, in seconds."""
    virsh = Virsh(stand.session)
    channel = AgentChannel(stand.session.path("s/b.agent"))
    channel.send(type="configure", specs=[{
        "app": "db", "node": 1, "memory_bytes": REGION_MIB << 20, "stop_timeout_usec": 2000000,
        "health_interval_usec": 500000, "health_timeout_usec": 500000, "health_failures": 3,
        "start": ["/usr/bin/fill", "run", "db", "8"], "health": ["/usr/bin/fill", "check", "db"]}])
    parts = {"freeze": [], "plug": [], "round-trip": [], "start": []}
    for number in range(1, FLOOR_ROUNDS + 1):
        parts["freeze"].append(virsh("suspend a"))
        virsh("resume a")
        parts["plug"].append(plug(stand, virsh, "b"))
        parts["round-trip"].append(channel.ask("pong", type="ping", nonce=number)[1])
        parts["start"].append(start(channel, number))
        unplug(stand, virsh, "b")
    channel.close()
    virsh.close()
    return {name: statistics.median(values) for name, values in parts.items()}


def phase(flow, name):
    return next(p["since_start_usec"] for p in flow["phases"] if p["phase"] == name) / 1e6


def failovers(stand, rounds, cause):
    flows = []
    for _ in range(rounds):
        stand.wait_armed()
        until(lambda: stand.application("db")["healthy"], 60, "the application is healthy")
        before = stand.n_flows()
        cause(stand.active)
        flow = stand.wait_failover(before, 60)
        if not flow["ok"]:
            raise RuntimeError(f"a failover failed: {flow}")
        flows.append(flow)
    return flows


def run(report):
    with Stand(POLICY, "p", ("a", "b"), 192, [("db", REGION_MIB)], start=False) as stand:
        for vm in stand.domains:
            stand.session.virsh("start", vm)
        for vm in stand.domains:
            stand.guests[vm].wait_ready()
        parts = floor(stand)
        for name, value in parts.items():
            report.add(f"floor-{name}", value * 1000, "ms")
        # `start` went through the agent, so it has the round trip in it.
        least = max(parts["freeze"], parts["plug"]) + parts["start"]
        report.add("floor-os-failure", least * 1000, "ms")

        stand.failoverd.start(POLICY)
        drill = lambda fault: lambda vm: stand.failoverd.ctl("drill", "p", "--fault", fault)   # noqa: E731
        for name, cause in (("panic", drill("panic")),
                            ("qemu-killed", lambda vm: os.kill(stand.guests.pid(vm), signal.SIGKILL))):
            flows = failovers(stand, FAILOVER_ROUNDS, cause)
            recovery = statistics.median(flow["recovery_usec"] for flow in flows) / 1e6
            report.add(f"recovery-{name}", recovery * 1000, "ms")
            report.add(f"recovery-{name}-by-floor", recovery / least, "ratio", "<=", 1.25)
        hangs = failovers(stand, HANG_ROUNDS, drill("hang"))
        report.add("hang-decided", statistics.median(phase(flow, "decided") for flow in hangs), "s", "<=", 2)
        report.add("hang-recovery", statistics.median(flow["recovery_usec"] for flow in hangs) / 1e6, "s")


def run_balloon_only(report):
    """A hang without the quick second path: balloon statistics alone, which tell whole seconds."""
    with Stand(POLICY, "p", ("a", "b"), 192, [("db", REGION_MIB)], domain_options=("--echo", "none")) as stand:
        hangs = failovers(stand, HANG_ROUNDS, lambda vm: stand.failoverd.ctl("drill", "p", "--fault", "hang"))
        decided = statistics.median(phase(flow, "decided") for flow in hangs)
        report.add("hang-decided-balloon-only", decided, "s", "<=", 3)


def main():
    lock, report = Lock(), Report()
    try:
        run(report)
        run_balloon_only(report)
    finally:
        report.save()
        lock.release()
    return 0


if __name__ == "__main__":
    sys.exit(main())
