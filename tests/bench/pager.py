#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A pager before memory servers against what a guest could swap to without either, on this machine, in turns within one
run: nbdkit's memory plugin, and a file on the local disk past the kernel's cache. fio's nbd engine over unix sockets,
and a guest's own reads and writes of disks; ratios are medians of rounds. Output and bench.json as in recovery.py."""
import os
import statistics
import sys
import tempfile

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(TESTS, "e2e"), os.path.join(TESTS, "memserver")]

from memserver import Memory, fill, in_turns            # noqa: E402
from pager import Pager                                 # noqa: E402
import reaped                                           # noqa: E402
from report import Report                               # noqa: E402
from server import BUILD, MIB, PAGE, Server             # noqa: E402
from testbed.guests import Guests                       # noqa: E402
from testbed.session import Session                     # noqa: E402
from testbed.stand import Lock                          # noqa: E402
from testbed.wait import until                          # noqa: E402

SIZE = "256MiB"
ONE = {"bs": "4k", "iodepth": 1}
MANY = {"bs": "4k", "iodepth": 16}
CLUSTERS = {"bs": "128k", "iodepth": 4}    # as a kernel swaps out
GUEST_ROUNDS = 5
DISK = """<disk type='network' device='disk'>
  <driver name='qemu' type='raw' discard='unmap'/>
  <source protocol='nbd'><host transport='unix' socket='{socket}'/></source>
  <target dev='{target}' bus='virtio'/>
</disk>
"""


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


class Guest:
    """A guest with two disks beside its own: a pager's and one of nbdkit's memory."""

    def __init__(self, *uris):
        self.lock = Lock()
        self.session = Session()
        self.session.start_bus()
        self.session.start_libvirtd()
        self.guests = Guests(self.session)
        self.guests.define("a", 192, [])
        self.session.virsh("start", "a")
        self.run("true", 90)
        for target, uri in zip(("vdy", "vdz"), uris):
            path = self.session.write(f"{target}.xml", DISK.format(socket=uri.split("socket=")[1], target=target))
            self.session.virsh("attach-device", "a", path, "--live")
        until(lambda: self.run("ls /dev/vdb 2>/dev/null"), 30, "both disks are there")

    def run(self, command, seconds=120):
        return self.guests["a"].run(command, seconds)

    def seconds(self, disk, size, count, save):
        """How long the guest takes for so many blocks, past its cache, one after the other."""
        way = f"if=/run/block of={disk} oflag=direct" if save else f"if={disk} of=/dev/null iflag=direct"
        if save:
            self.run(f"dd if=/dev/urandom of=/run/block bs={size} count={count} 2>/dev/null")
        clock = "cut -d' ' -f1 /proc/uptime"
        began, ended = self.run(f"{clock}; dd {way} bs={size} count={count} 2>/dev/null && {clock}").split()
        return float(ended) - float(began)

    def close(self):
        self.guests.close()
        self.session.close()
        self.lock.release()


def in_guest(report):
    """As a guest's kernel pages: clusters out, page by page in."""
    server, memory = Server("512MiB"), Memory()
    pager = Pager([server], size=SIZE)
    for path in (pager.socket, memory.uri.split("socket=")[1], pager.dir, memory.dir.name):
        os.chmod(path, 0o777)    # QEMU is another user's
    guest = Guest(pager.uri, memory.uri)
    try:
        for label, size, count, save, target in (("save_128k", "128k", 256, True, (">=", 0.9)),
                                                 ("page_in", "4k", 4096, False, ("<=", 1.3)),
                                                 ("read_128k", "128k", 256, False, (">=", 0.9))):
            turns = [(guest.seconds("/dev/vda", size, count, save), guest.seconds("/dev/vdb", size, count, save))
                     for _ in range(GUEST_ROUNDS)]
            ratio = statistics.median(mine / other for mine, other in turns)
            report.add(f"pager_in_guest_{label}", statistics.median(mine for mine, _ in turns) / count * 1e6, "us")
            report.add(f"pager_in_guest_{label}_ratio", ratio if target[0] == "<=" else 1 / ratio, "x", *target)
    finally:
        guest.close()
        memory.close()
        pager.close()
        server.close()


def main():
    report = Report()
    for part in (against_memory, mirrored, against_disk, in_guest):
        part(report)
    report.save()


if __name__ == "__main__":
    reaped.run(main)
