#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What deciding costs, on virtual time: engine.c's figures against their targets.

The cost of a pair among many is told in instructions: in time, a thousand pairs cost more each because they do not
fit into a processor's caches, and that ratio is told beside it.
"""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))

import reaped                           # noqa: E402
from report import Report               # noqa: E402
from testbed.guests import BUILD        # noqa: E402

PROGRAM = os.path.join(BUILD, "tests/bench/engine-cost")
FEW, MANY = 10, 1000
RUNS = 5        # of which the best counts: other programs share the machine


def measure(*arguments):
    """Its figures by name; of several runs the one that cost least."""
    runs = []
    for _ in range(RUNS):
        done = subprocess.run([PROGRAM, *map(str, arguments)], check=True, stdout=subprocess.PIPE, text=True)
        runs.append({name: float(value) for name, value in map(str.split, done.stdout.splitlines())})
    return min(runs, key=lambda figures: figures["cpu-sec"])


def instructions(pairs, seconds):
    """Of the engine at rest, for a pair and a second."""
    done = subprocess.run(["valgrind", "--tool=callgrind", "--toggle-collect=step_at_rest",
                           f"--callgrind-out-file={os.devnull}", PROGRAM, "idle", str(pairs), str(seconds)],
                          check=True, capture_output=True, text=True)
    return int(re.search(r"Collected : (\d+)", done.stderr).group(1)) / (pairs * seconds)


def main():
    report = Report()
    idle = measure("idle", FEW, 2000)
    report.add("simulated-pair-seconds", idle["pair-seconds"] / idle["cpu-sec"], "/s", ">=", 50000, pairs=FEW)
    failovers = measure("failovers", FEW, 500)
    report.add("simulated-failovers", failovers["flows"] / failovers["cpu-sec"], "/s", ">=", 1000, pairs=FEW)
    busy = measure("latency", MANY, 300)
    report.add("decision-latency-p99", busy["decision-p99-usec"] / 1000, "ms", "<=", 10, pairs=MANY,
               worst=busy["decision-max-usec"] / 1000)
    report.add("step-latency-p99", busy["step-p99-usec"] / 1000, "ms", pairs=MANY, worst=busy["step-max-usec"] / 1000)
    few, many = measure("rest", FEW, 200), measure("rest", MANY, 4)
    report.add("engine-time-per-pair-many-to-few",
               many["engine-nsec-per-pair-second"] / few["engine-nsec-per-pair-second"], "ratio", few=FEW, many=MANY)
    report.add("engine-cost-per-pair-many-to-few", instructions(MANY, 10) / instructions(FEW, 10), "ratio", "<=", 1.2,
               few=FEW, many=MANY)
    report.save()
    return 0


if __name__ == "__main__":
    reaped.run(main)
