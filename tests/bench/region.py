#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Shared regions against requests and answers of the same sizes by libnbd alone, both to nbdkit on this machine over a
unix socket, in turns within one run (region.c). Ratios are medians of rounds; output and bench.json as in
recovery.py."""
import os
import subprocess
import sys
import tempfile

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(TESTS, "e2e"), os.path.join(TESTS, "memserver"), os.path.join(TESTS, "region")]

import nbd                                          # noqa: E402
from region import SHARE_PLUGIN, Nbdkit             # noqa: E402
import reaped                                       # noqa: E402
from report import Report                           # noqa: E402
from server import BUILD, MIB                       # noqa: E402

SIZE = 128 * MIB
FIGURES = {    # unit, relation, target
    "raw_single_usec": ("us", None, None),
    "raw_bulk_mib": ("MiB/s", None, None),
    "fault_over_raw": ("x", "<=", 2),
    "scan_over_raw_bulk": ("x", ">=", 0.6),
    "fill_over_raw_bulk": ("x", None, None),
    "threads_4_over_1": ("x", ">=", 3.5),
    "fetches_of_one_page": ("fetches", "<=", 1),
    "stream_over_raw_bulk": ("x", ">=", 0.8),
    "stalls_of_a_slower_reader": ("flips", "<=", 0),
    "look_up_1000_over_1": ("x", "<=", 1.2),    # in processor time
    "fault_among_1000_over_alone": ("x", None, None),
}


def fill(uri):
    handle = nbd.NBD()
    handle.connect_uri(uri)
    for at in range(0, SIZE, MIB):
        handle.pwrite(bytes([1]) * MIB, at)
    handle.shutdown()


def main():
    report = Report()
    plain, delayed = Nbdkit("memory", str(SIZE)), Nbdkit("--filter=delay", "memory", "16M", "rdelay=5ms")
    try:
        fill(plain.uri)
        with tempfile.TemporaryDirectory() as runtime:
            done = subprocess.run([os.path.join(BUILD, "tests/bench/region-cost"), plain.uri, delayed.uri], check=True,
                                  stdout=subprocess.PIPE, text=True, timeout=600,
                                  env={**os.environ, "FAILOVER_SHARE_PLUGIN": SHARE_PLUGIN, "XDG_RUNTIME_DIR": runtime})
    finally:
        plain.close()
        delayed.close()
    for line in done.stdout.splitlines():
        name, value = line.split()
        report.add(f"region_{name}", float(value), *FIGURES[name])
    report.save()


if __name__ == "__main__":
    reaped.run(main)
