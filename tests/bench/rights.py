#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What granting the management right of memory costs in the core, by size (rights.c), and what it costs to look at who
uses memory: at the page map of a region in handover, and at all of a process, as the survey of the others does.

The survey counts and samples (daemon/host/memory/resident-survey.h), each at most at a two hundredth of a processor:
how much memory there is decides how old what it tells may be. A count costs by the size, measured at 1 GiB; a sample
costs as much for each part of a guest's memory, whatever its size.
"""
import mmap
import os
import resource
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))

import reaped                                           # noqa: E402
from report import Report                               # noqa: E402
from testbed.guests import BUILD                        # noqa: E402


LOOK_MIB, LOOKS = 1024, 7
STEP_MSEC = 20              # between looks at what is in handover
PAUSE_FACTOR = 200  # of a look's processor time, before the next of its kind: daemon/host/memory/resident-survey.c
SURVEYED_GIB, SURVEYED_PARTS = 64, 16   # four VMs, each of a system and three regions


def processor_msec(look):
    """The processor time that a look takes: the median of some."""
    took = []
    for _ in range(LOOKS):
        before = resource.getrusage(resource.RUSAGE_SELF)
        look()
        after = resource.getrusage(resource.RUSAGE_SELF)
        took.append((after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000)
    return statistics.median(took)


def looking(report):
    """At a memory file of 1 GiB, all of it touched, as QEMU maps a region."""
    fd = os.memfd_create("region")
    os.ftruncate(fd, LOOK_MIB << 20)
    with mmap.mmap(fd, LOOK_MIB << 20, flags=mmap.MAP_SHARED) as region, \
         open("/proc/self/maps", encoding="ascii") as maps, open("/proc/self/pagemap", "rb", 0) as pagemap:
        for offset in range(0, LOOK_MIB << 20, 4096):
            region[offset] = 1
        start = next(int(line.split("-")[0], 16) for line in maps if "/memfd:region" in line)

        def page_map(offset, mib):
            os.pread(pagemap.fileno(), (mib << 20) // 4096 * 8, (start + offset) // 4096 * 8)

        def survey():
            with open("/proc/self/smaps", "rb") as smaps:
                smaps.read()

        report.add("look-at-a-gib", processor_msec(lambda: page_map(0, LOOK_MIB)), "ms")
        extent = processor_msec(lambda: [page_map(0, 2) for _ in range(100)]) / 100
        report.add("look-at-an-extent-of-a-step", extent / STEP_MSEC, "ratio", "<=", 0.01)
        gib = processor_msec(survey)
    os.close(fd)
    out = subprocess.run([f"{BUILD}/tests/bench/sample-cost"], check=True, stdout=subprocess.PIPE, text=True).stdout
    part, error = (float(word) for word in out.split())
    report.add("survey-count-a-gib", gib, "ms")
    report.add("survey-sample-a-part", part, "ms")
    report.add("survey-sample-error", error, "%")
    with tempfile.TemporaryDirectory() as directory:
        out = subprocess.run([f"{BUILD}/tests/bench/survey-cost", directory], check=True, stdout=subprocess.PIPE,
                             text=True).stdout
    share, counts, samples = out.split()
    if int(counts) == 0 or int(samples) == 0:
        raise RuntimeError(f"the survey has taken {counts} counts and {samples} samples")
    report.add("survey-of-a-core", float(share), "%", "<", 1, counts=int(counts), samples=int(samples))
    # On paper: what a GiB and a part cost here, by their number, and the pause after it.
    report.add("survey-64gib-count-age", SURVEYED_GIB * gib * (1 + PAUSE_FACTOR) / 1000, "s")
    report.add("survey-64gib-sample-age", SURVEYED_PARTS * part * (1 + PAUSE_FACTOR) / 1000, "s")
    # Were they sampled each second, whatever that costs:
    report.add("sample-64gib-each-second-of-a-core", SURVEYED_PARTS * part / 10, "%")


def main():
    report = Report()
    looking(report)
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
    reaped.run(main)
