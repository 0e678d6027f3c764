#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""soak.py MINUTES: a pair whose guests use all the processor they get, beside load on the host, and no fault.

Every failover is a false one. Ends with what was seen and the upper bound (95 %) of the false-alarm rate that
follows: with none in T guest-hours, 3/T an hour. Exits non-zero when there was a false failover.
"""
import math
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))

import reaped                                   # noqa: E402
from testbed.policy import policy               # noqa: E402
from testbed.stand import Lock, Stand           # noqa: E402

REPORT_SECONDS = 60
BUSY = "(while :; do :; done) > /dev/null 2>&1 & echo $! > /run/busy.pid"


def upper_bound(n):
    """Upper 95 % limit of a Poisson mean of which `n` events were seen."""
    low, high = float(n), 4.0 * n + 20
    for _ in range(60):
        mean = (low + high) / 2
        seen = sum(math.exp(-mean) * mean ** k / math.factorial(k) for k in range(n + 1))
        low, high = (mean, high) if seen > 0.05 else (low, mean)
    return high


def watch(stand, minutes):
    """Returns (failovers, suspicions) of that time."""
    end = time.monotonic() + minutes * 60
    suspected = set()
    while time.monotonic() < end:
        time.sleep(min(REPORT_SECONDS, max(0.0, end - time.monotonic())))
        for event in stand.failoverd.events("p"):
            if event["kind"] == "suspected":
                suspected.add(event["time_ms"])
        print(f"{(end - time.monotonic()) / 60:6.1f} min to go: {stand.n_flows()} failovers, "
              f"{len(suspected)} suspicions that did not hold, pair {stand.status()['state']}", flush=True)
    return stand.n_flows(), len(suspected)


def run(minutes):
    with Stand(policy(), "p", ("a", "b"), 192, [("db", 128), ("web", 64)]) as stand:
        stand.wait_armed()
        for vm in stand.domains:
            stand.shell(vm, BUSY)
        load = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(os.cpu_count())]
        try:
            failovers, suspicions = watch(stand, minutes)
        finally:
            for process in load:
                process.kill()
                process.wait()
        if failovers:
            print(stand.failoverd.ctl("history", stand.pair_name).stdout, flush=True)
    hours = len(stand.domains) * minutes / 60
    print(f"{failovers} false failovers and {suspicions} suspicions in {hours:.2f} guest-hours: with 95 % confidence "
          f"fewer than {upper_bound(failovers) / hours:.3g} false failovers a guest-hour")
    return 1 if failovers else 0


def main():
    if len(sys.argv) != 2:
        print("usage: soak.py MINUTES", file=sys.stderr)
        return 2
    lock = Lock()
    try:
        return run(float(sys.argv[1]))
    finally:
        lock.release()


if __name__ == "__main__":
    reaped.run(main)
