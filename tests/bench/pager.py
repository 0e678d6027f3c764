#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A pager before memory servers against what a guest could swap to without either, on this machine, in turns within one
run: nbdkit's memory plugin, and a file on the local disk past the kernel's cache. fio's nbd engine over unix sockets,
the same jobs; ratios are medians of rounds. Output and bench.json as in recovery.py."""
import os
import sys
import tempfile

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(TESTS, "e2e"), os.path.join(TESTS, "memserver")]

from memserver import Memory, fill, in_turns            # noqa: E402
from pager import Pager                                 # noqa: E402
from report import Report                               # noqa: E402
from server import BUILD, MIB, PAGE, Server             # noqa: E402

SIZE = "256MiB"
ONE = {"bs": "4k", "iodepth": 1}
MANY = {"bs": "4k", "iodepth": 16}
CLUSTERS = {"bs": "128k", "iodepth": 4}    # as a kernel swaps out


def rates(report, label, ours, theirs, other, mirrored):
    """Of a pager and of something else that a guest could swap to."""
    for name, rw, job, unit, scale in (("read_4k", "randread", MANY, "IOPS", PAGE),
                                       ("save_4k", "randwrite", MANY, "IOPS", PAGE),
                                       ("read_128k", "randread", CLUSTERS, "MiB/s", MIB),
                                       ("save_128k", "randwrite", CLUSTERS, "MiB/s", MIB)):
        if mirrored and "read" in rw:
            continue
        mine, bare, ratio = in_turns(ours, theirs, rw, **job)
        report.add(f"{label}_{name}", mine / scale, unit)
        report.add(f"{other}_{name}", bare / scale, unit)
        report.add(f"{label}_{name}_ratio", ratio, "x", ">=", 0.5 if mirrored else 0.9)


def latency(report, label, ours, theirs, other, *target, **job):
    mine, bare, ratio = in_turns(ours, theirs, "randread", **ONE, **job)
    report.add(f"{label}_page_in", PAGE / mine * 1e6, "us")
    report.add(f"{other}_page_in", PAGE / bare * 1e6, "us")
    report.add(f"{label}_page_in_to_{other}", 1 / ratio, "x", *target)


def against_memory(report):
    server, memory = Server("512MiB"), Memory()
    pager = Pager([server], size=SIZE)
    try:
        fill(pager.uri)
        fill(memory.uri)
        latency(report, "pager", pager.uri, memory.uri, "nbdkit_memory", "<=", 2)
        rates(report, "pager", pager.uri, memory.uri, "nbdkit_memory", False)
    finally:
        memory.close()
        pager.close()
        server.close()


def mirrored(report):
    """The same pager with and without a mirror, which runs on the same processors."""
    servers = [Server("600MiB"), Server("300MiB")]
    pagers = [Pager(servers, size=SIZE), Pager(servers[:1], size=SIZE, owner="vm2")]
    try:
        pagers[0].until_mirrored(*servers)
        for pager in pagers:
            fill(pager.uri)
        rates(report, "pager_mirrored", pagers[0].uri, pagers[1].uri, "pager_unmirrored", True)
        pagers[0].until_mirrored(*servers)
    finally:
        for one in (*pagers, *servers):
            one.close()


def against_disk(report):
    """A swap file whose pages are not in the host's memory either: past the cache."""
    server = Server("512MiB")
    pager = Pager([server], size=SIZE)
    try:
        fill(pager.uri)
        with tempfile.TemporaryDirectory(dir=BUILD) as folder:
            file = os.path.join(folder, "swap")
            with open(file, "wb") as f:
                for _ in range(256):
                    f.write(os.urandom(MIB))
                os.fsync(f.fileno())
            latency(report, "pager", pager.uri, file, "local_disk")
    finally:
        pager.close()
        server.close()


def main():
    report = Report()
    for part in (against_memory, mirrored, against_disk):
        part(report)
    report.save()


if __name__ == "__main__":
    main()
