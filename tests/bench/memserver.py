#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Memory servers against nbdkit's own memory plugin, both on this machine, in turns within one run: fio's nbd engine
over unix sockets, the same jobs. Ratios are medians of rounds; output and bench.json as in recovery.py."""
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(TESTS, "e2e"), os.path.join(TESTS, "memserver")]

import nbd                                              # noqa: E402
import reaped                                           # noqa: E402
from report import Report                               # noqa: E402
from server import BUILD, MIB, PAGE, Server, listens, name, page    # noqa: E402
from testbed.wait import until                          # noqa: E402

SAVES = os.path.join(BUILD, "tests/bench/saves")
SIZE = 256 * MIB
ROUNDS = 7
SECONDS = 1.5
DEATHS = 15
RANDOM = {"bs": "4k", "iodepth": 16}
LARGE = {"bs": "1M", "iodepth": 4}
PARALLEL = {"numjobs": 8, "thread": 1, "group_reporting": 1}    # connections; one is served a request at a time


class Memory:
    """nbdkit's memory plugin."""

    def __init__(self):
        self.dir = tempfile.TemporaryDirectory()
        self.uri = f"nbd+unix:///?socket={self.dir.name}/nbd"
        self.process = subprocess.Popen(["nbdkit", "--foreground", "--unix", f"{self.dir.name}/nbd", "memory",
                                         str(SIZE)])
        until(lambda: listens(self.process, f"{self.dir.name}/nbd"), 30, "it listens")

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.dir.cleanup()


def fio(where, rw, **job):
    """Bytes a second, of an NBD server, or of a file on a disk."""
    there = {"filename": where, "ioengine": "psync", "direct": 1} if where.startswith("/") else \
            {"ioengine": "nbd", "uri": where}
    options = {**there, "rw": rw, "size": SIZE, "runtime": f"{int(SECONDS * 1000)}ms", "time_based": 1,
               "norandommap": 1, "refill_buffers": 0, **job}
    done = subprocess.run(["fio", "--name=job", "--output-format=json", *(f"--{k}={v}" for k, v in options.items())],
                          check=True, capture_output=True, text=True, timeout=300)
    jobs = json.loads(done.stdout[done.stdout.index("{"):])["jobs"]
    return sum(one["write" if "write" in rw else "read"]["bw_bytes"] for one in jobs)


def fill(uri):
    fio(uri, "write", bs="1M", iodepth=4, time_based=0)


def in_turns(one, other, rw, **job):
    """Medians of both, and of the ratios of neighbours in time."""
    pairs = []
    for turn in range(ROUNDS):
        first, second = (one, other) if turn % 2 == 0 else (other, one)
        speeds = {uri: fio(uri, rw, **job) for uri in (first, second)}
        pairs.append((speeds[one], speeds[other]))
    return (statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs),
            statistics.median(a / b for a, b in pairs))


def against_memory(report):
    server, memory = Server("512MiB"), Memory()
    try:
        uri = server.uri(server.open(size=SIZE))
        fill(uri)
        fill(memory.uri)
        for label, rw, job, unit, scale in (
                ("random_read_4k", "randread", RANDOM, "IOPS", PAGE),
                ("random_write_4k", "randwrite", RANDOM, "IOPS", PAGE),
                ("read_1m", "read", LARGE, "MiB/s", MIB),
                ("write_1m", "write", LARGE, "MiB/s", MIB)):
            ours, theirs, ratio = in_turns(uri, memory.uri, rw, **job)
            report.add(f"memserver_{label}", ours / scale, unit)
            report.add(f"nbdkit_memory_{label}", theirs / scale, unit)
            report.add(f"memserver_{label}_ratio", ratio, "x", ">=", 0.8)
    finally:
        memory.close()
        server.close()


def resident(process):
    with open(f"/proc/{process.pid}/smaps_rollup") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("Rss"))


def overhead(report):
    """What the process has more in memory than the pages that it was given."""
    server = Server("512MiB")
    try:
        handle = server.connect(server.open(size=64 << 30))
        data = os.urandom(MIB)
        handle.pwrite(data, 0)
        before, held = resident(server.process), server.load()["memory_used_bytes"]
        for number in range(1, 65536):    # one page here and there, the tables' worst case
            handle.pwrite(data[:PAGE], number * MIB)
        pages = (server.load()["memory_used_bytes"] - held) // PAGE
        report.add("memserver_overhead_per_page", (resident(server.process) - before - pages * PAGE) / pages, "bytes",
                   "<=", 64)
        held = server.load()["memory_used_bytes"]
        for number in range(64):
            handle.pwrite(bytes(MIB // 2), number * 100 * MIB + MIB // 4)
        report.add("memserver_zero_page", max(server.load()["memory_used_bytes"] - held, 0), "bytes", "<=", 0)
    finally:
        server.close()


def mirrored(report):
    """The same server with and without a mirror, which runs on the same processors."""
    server, keeper = Server("700MiB"), Server("400MiB")
    try:
        plain = server.uri(server.open(size=SIZE))
        saved = server.uri(server.open(size=SIZE, owner="vm2"))
        server.mirror(keeper, which=name(owner="vm2"), deadline=10.0)
        server.until_mirror("complete", owner="vm2")
        for uri in (plain, saved):
            fill(uri)
        for label, rw, job, unit, scale in (
                ("save_4k", "randwrite", {**RANDOM, **PARALLEL}, "IOPS", PAGE),
                ("save_64k", "randwrite", {"bs": "64k", "iodepth": 4, **PARALLEL}, "MiB/s", MIB),
                ("save_1m", "write", {**LARGE, **PARALLEL}, "MiB/s", MIB)):
            with_mirror, without, ratio = in_turns(saved, plain, rw, **job)
            report.add(f"memserver_mirrored_{label}", with_mirror / scale, unit)
            report.add(f"memserver_unmirrored_{label}", without / scale, unit)
            report.add(f"memserver_mirrored_{label}_ratio", ratio, "x", ">=", 0.5)
        assert server.space(owner="vm2")["mirror"] == "complete"
    finally:
        server.close()
        keeper.close()


def saves(*uris, bs, threads):
    """A second, of a client that saves at one server, or at two at once."""
    done = subprocess.run([SAVES, "1", str(bs), str(threads), *uris], check=True, capture_output=True, text=True)
    return float(done.stdout)


def fan_out(report):
    """A save that the primary forwards to its mirror, against one that its client sends to both: the choice of who
    forwards rests on this."""
    servers = [Server("700MiB"), Server("700MiB")]
    try:
        forwarded = servers[0].uri(servers[0].open(size=SIZE))
        servers[0].mirror(servers[1], deadline=10.0)
        servers[0].until_mirror("complete")
        both = [server.uri(server.open(size=SIZE, owner="vm2")) for server in servers]
        for label, bs, threads in (("4k", PAGE, 1), ("4k_8", PAGE, 8), ("64k_8", 16 * PAGE, 8)):
            speeds = [(saves(forwarded, bs=bs, threads=threads), saves(*both, bs=bs, threads=threads))
                      for _ in range(ROUNDS)]
            report.add(f"memserver_forwarded_save_{label}", statistics.median(a for a, _ in speeds), "IOPS")
            report.add(f"memserver_fan_out_save_{label}", statistics.median(b for _, b in speeds), "IOPS")
            report.add(f"memserver_forwarded_to_fan_out_{label}", statistics.median(a / b for a, b in speeds), "x")
    finally:
        for server in servers:
            server.close()


def death(report):
    """From SIGKILL of the primary to the first page out of the mirror, for a client that sees the connection break."""
    spans = []
    for _ in range(DEATHS):
        server, keeper = Server(), Server()
        try:
            handle = server.connect(server.open())
            server.mirror(keeper)
            server.until_mirror("complete")
            handle.pwrite(page(1), 0)
            killed = time.monotonic()
            server.process.kill()
            try:
                while True:
                    handle.pread(PAGE, 0)
            except nbd.Error:
                pass
            lost = int((time.monotonic() - killed) * 1e6)
            assert keeper.connect(keeper.promote(token=2, lost_usec=lost)).pread(PAGE, 0) == page(1)
            spans.append(time.monotonic() - killed)
        finally:
            server.close()
            keeper.close()
    report.add("memserver_death_to_first_read", statistics.median(spans) * 1000, "ms", "<=", 100)
    report.add("memserver_death_to_first_read_worst", max(spans) * 1000, "ms")


def main():
    report = Report()
    for part in (against_memory, overhead, mirrored, fan_out, death):
        part(report)
    report.save()


if __name__ == "__main__":
    reaped.run(main)
