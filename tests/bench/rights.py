#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What granting the management right of memory costs in the core, by size (rights.c)."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))

from report import Report                               # noqa: E402
from testbed.guests import BUILD                        # noqa: E402


def main():
    report = Report()
    figures = {}
    out = subprocess.run([f"{BUILD}/tests/bench/grant-cost"], check=True, stdout=subprocess.PIPE, text=True).stdout
    for name, mib, median, slowest in (line.split() for line in out.splitlines()):
        figures.setdefault(name, {})[int(mib)] = (float(median), float(slowest))
    for name, by_size in figures.items():
        slowest = max(slowest for _, slowest in by_size.values())
        report.add(f"grant-{name}-max", slowest / 1000, "ms", "<=", 1,
                   median_usec={mib: median for mib, (median, _) in by_size.items()})
    whole = figures["whole"]
    report.add("grant-64GiB-by-128MiB", whole[65536][0] / whole[128][0], "ratio", "<=", 2)
    report.save()


if __name__ == "__main__":
    main()
