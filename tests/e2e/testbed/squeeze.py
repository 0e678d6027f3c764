# SPDX-License-Identifier: LGPL-2.1-or-later
"""Too little memory for a set of processes, on a host that swaps."""
import os
import subprocess
import sys

from . import swap
from .wait import until

GROUPS = "/sys/fs/cgroup/memory"    # cgroup v1; elsewhere the memory controller is at the root of v2
SWAP_MIB = 2048

# Takes memory and goes through it, page after page in no order, so that others' pages have to go.
HOG = """
import mmap, os, sys
n = int(sys.argv[1]) << 20
memory, noise = mmap.mmap(-1, n), os.urandom(4096)
for at in range(0, n, 4096):
    memory[at:at + 4096] = noise
i = 0
while True:
    at, i = (i * 7919 * 4096) % n, i + 1
    memory[at] = i & 255
"""


def _write(path, text):
    with open(path, "w") as f:
        f.write(text)


def missing():
    """Why this cannot be done here; empty where it can."""
    if not os.path.exists(f"{GROUPS}/memory.limit_in_bytes") and not os.path.exists("/sys/fs/cgroup/memory.stat"):
        return "no memory controller"
    return swap.missing()


class Squeeze:
    """A group of processes that gets less memory than they use, with swap for what does not fit. close() gives
    everything back, whatever has happened in between."""

    def __init__(self, name):
        self._hogs = []
        self._swap = swap.Swap(SWAP_MIB)
        self._v1 = os.path.exists(f"{GROUPS}/memory.limit_in_bytes")
        self._dir = f"{GROUPS if self._v1 else '/sys/fs/cgroup'}/{name}"
        try:
            os.makedirs(self._dir, exist_ok=True)
        except BaseException:
            self.close()
            raise

    def add(self, pid):
        """A process, before it has begun to use what is to be limited: what it has is not moved. Children follow."""
        _write(f"{self._dir}/cgroup.procs", str(pid))

    def used_mib(self):
        with open(f"{self._dir}/memory.{'usage_in_bytes' if self._v1 else 'current'}") as f:
            return int(f.read()) >> 20

    def limit(self, mib):
        """None: none. Waits until so much is swapped out that it holds."""
        path = f"{self._dir}/memory.{'limit_in_bytes' if self._v1 else 'max'}"

        def taken():
            try:
                _write(path, str(mib << 20) if mib else "-1" if self._v1 else "max")
                return True
            except OSError:     # not yet: the kernel takes back only so much at a time
                return False

        until(taken, 60, f"{path} takes {mib} MiB")

    def hog(self, mib):
        """A program in the group that is never content with what it has."""
        hog = subprocess.Popen([sys.executable, "-c", HOG, str(mib)], stdin=subprocess.DEVNULL,
                               preexec_fn=lambda: self.add(0))
        self._hogs.append(hog)

    def relax(self):
        for hog in self._hogs:
            hog.kill()
            hog.wait()
        self._hogs = []
        self.limit(None)

    def _leave(self):
        with open(f"{self._dir}/cgroup.procs") as f:
            for pid in f.read().split():
                _write(f"{os.path.dirname(self._dir)}/cgroup.procs", pid)
        try:
            os.rmdir(self._dir)
        except OSError:     # one of them forked meanwhile
            return False
        return True

    def close(self):
        if os.path.isdir(self._dir):
            self.relax()
            until(self._leave, 30, f"{self._dir} is empty")
        self._swap.close()
