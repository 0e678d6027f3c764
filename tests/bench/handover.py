#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a region costs that changes hands while both VMs live (N: two rights), on real guests in one run.

Lazy against eager: an application fails on a busy VM that has nothing to spare, and starts on the other. Touching: how
quickly the new user gets at its memory when nobody has it, and when the old user's pages have to go first.
Needs root and /dev/zram0. bench.json in the build directory has all figures.
"""
import mmap
import os
import re
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))

import reaped                                           # noqa: E402
from report import Report                               # noqa: E402
from testbed import swap                                # noqa: E402
from testbed.policy import DB, policy                   # noqa: E402
from testbed.stand import Lock, Stand                   # noqa: E402
from testbed.swap import Swap                           # noqa: E402
from testbed.wait import until                          # noqa: E402

REGION_MIB = 1024
ROUNDS = 3
TOUCH_MIB = 512
MADV_PAGEOUT = 21           # madvise(2)
# 64 monitor, 256 overhead, 384 VMs, the region: nothing is left that could stand in.
POOL = f"{64 + 256 + 512 + REGION_MIB}MiB"
APPLICATION = DB.replace("128MiB", f"{REGION_MIB}MiB").replace('"96"', '"8"')


def text(handover, early="never"):
    made = policy(pool=POOL, reserve="0MiB", applications=(APPLICATION,),
                  pair={"handover": handover, "act-timeout": "60s", "objective": "60s",
                        "early-release": "{when: %s}" % early})
    return made.replace("base: 192MiB", "base: 256MiB")


def stand_of(handover):
    return Stand(text(handover), "p", ("a", "b"), 256, [("db", REGION_MIB)], helper=True)


def region_is_back(stand, vm):
    """The VM has nothing of the region plugged any more."""
    side = next(s for s in stand.application("db")["sides"] if s["domain"] == vm)
    return side["plugged_bytes"] == 0 and side["using_bytes"] == 0


def touched(stand, vm, mib, node):
    """Microseconds that a guest takes to write so much of a node's memory for the first time."""
    found = re.search(r"touched in (\d+) us", stand.shell(vm, f"fill touch {mib} {node}", 120))
    return int(found.group(1))


def waited_msec(pid):
    """How long the processors of a QEMU's guest have waited for one of the host's."""
    waited = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/comm") as f:
            if not f.read().startswith("CPU "):
                continue
        with open(f"/proc/{pid}/task/{task}/schedstat") as f:
            waited += int(f.read().split()[1])
    return waited / 1e6


def pace(stand, vm):
    """Rounds a second of something else that the guest does, in memory of its own. Time in which another process had
    the host's processor is left out: what the guest itself has to do, and waits for its memory, is not."""
    def sample(command):
        count, msec = stand.shell(vm, command).split()
        return int(count), int(msec) - waited_msec(stand.guests.pid(vm))

    first, last = sample("sleep 1; cat /run/beside.count"), sample("sleep 4; cat /run/beside.count")
    return (last[0] - first[0]) / (last[1] - first[1]) * 1000


def failovers(stand):
    """Seconds from the failure to the application started, on a VM that is busy and lives on."""
    took = []
    for _ in range(ROUNDS):
        stand.wait_armed()
        active = stand.active
        other = "b" if active == "a" else "a"
        until(lambda: region_is_back(stand, other), 120, "the last handover is over")
        busy = stand.shell(active, "(while :; do :; done) > /dev/null 2>&1 & echo $!").strip()
        before = stand.n_flows()
        stand.kill_app(active, "db", "KILL")
        flow = stand.wait_failover(before, 120)
        if not flow["ok"]:
            raise RuntimeError(f"a failover failed: {flow}")
        took.append(flow["recovery_usec"] / 1e6)
        stand.shell(active, f"kill {busy}")
    return statistics.median(took)


def lazy_against_eager(report):
    took = {}
    for handover in ("eager", "lazy"):
        with stand_of(handover) as stand:
            took[handover] = failovers(stand)
        report.add(f"failover-1gib-{handover}", took[handover] * 1000, "ms")
    report.add("failover-eager-by-lazy", took["eager"] / took["lazy"], "ratio", ">=", 10)


def swap_takes(mib):
    """MiB/s that the swap device takes when nothing else is asked of it."""
    with mmap.mmap(-1, mib << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        for offset in range(0, mib << 20, 4096):
            memory[offset:offset + 8] = offset.to_bytes(8, "little")
        began, swapped = time.monotonic(), Swap.used_kib()
        memory.madvise(MADV_PAGEOUT)
        return (Swap.used_kib() - swapped) / 1024 / (time.monotonic() - began)


def touching(report):
    """The first touch of memory that nobody uses, and of memory that the old user has to let go of."""
    with stand_of("lazy") as stand:
        stand.wait_armed()
        free = touched(stand, "a", TOUCH_MIB, 1)        # never touched before
        stand.shell("a", "fill spin beside > /dev/console 2>&1 & echo begun")
        stand.shell("a", f"fill run hog {TOUCH_MIB + 128} 1 > /dev/console 2>&1 & echo begun")
        until(lambda: stand.count("a", "hog") > 0, 120, "the old user holds on to the region")
        beside = pace(stand, "a")
        stand.kill_app("a", "db", "KILL")
        if not stand.wait_failover(0, 120)["ok"]:
            raise RuntimeError("the failover failed")
        lost = pace(stand, "a")
        began, swapped = time.monotonic(), Swap.used_kib()
        taken = touched(stand, "b", TOUCH_MIB, 1)
        during = pace(stand, "a")
        settled = [Swap.used_kib(), time.monotonic()]

        def quiet():
            now = Swap.used_kib()
            if now > settled[0] + 1024:
                settled[:] = [now, time.monotonic()]
            return time.monotonic() - settled[1] > 2

        until(quiet, 120, "the old user is paged out")
        rate = (settled[0] - swapped) / 1024 / max(settled[1] - began, 0.01)
        takes = swap_takes(TOUCH_MIB)
    report.add("touch-free", TOUCH_MIB / free * 1e6, "MiB/s")
    report.add("touch-taken", TOUCH_MIB / taken * 1e6, "MiB/s")
    report.add("touch-taken-by-free", free / taken, "ratio", ">=", 0.5)
    report.add("paged-out", rate, "MiB/s")
    report.add("swap-takes", takes, "MiB/s")
    report.add("touch-taken-by-swap", TOUCH_MIB / taken * 1e6 / takes, "ratio", ">=", 0.7)
    report.add("old-user-beside-lost-by-before", lost / beside, "ratio", ">=", 0.9)
    report.add("old-user-beside-during-by-before", during / beside, "ratio", ">=", 0.9)


def main():
    lock, report = Lock(), Report()     # the swap device is one for all, too
    try:
        if swap.missing():
            print(f"handover: not measured: {swap.missing()}")
            return 0
        with Swap(2048):
            lazy_against_eager(report)
            touching(report)
    finally:
        report.save()
        lock.release()
    return 0


if __name__ == "__main__":
    reaped.run(main)
