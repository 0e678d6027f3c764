# SPDX-License-Identifier: LGPL-2.1-or-later
"""A kernel of its own in which this machine's files are seen: user-mode Linux, with the memory controller of cgroup v2,
swap, and as much memory as a test wants it to have. It boots in seconds and needs no root and no container."""
import json
import os
import shutil
import subprocess
import tempfile
import time

from .guests import BUILD

PROGRAM = "linux.uml"
SWAP_MIB = 512


def missing():
    """Why there can be none here; empty where it can."""
    if not shutil.which(PROGRAM):
        return f"no {PROGRAM} (package user-mode-linux)"
    return ""


def _memory_dir(mib, otherwise):
    """It keeps its memory in a file. /dev/shm is small in some containers."""
    shm = os.statvfs("/dev/shm")
    return "/dev/shm" if shm.f_bavail * shm.f_frsize > 2 * mib << 20 else otherwise


def run(program, memory_mib, seconds):
    """Boots, with `program` as its only process, to its end. Returns what that has written to found.json, as JSON, in
    the directory that OUT in its environment names; BUILD is there, too, and swap is /dev/ubda."""
    out, begun = tempfile.mkdtemp(prefix="fo-uml"), time.monotonic()
    try:
        swap = os.path.join(out, "swap")
        with open(swap, "wb") as f:
            f.truncate(SWAP_MIB << 20)
        os.chmod(swap, 0o600)
        subprocess.run(["/sbin/mkswap", swap], check=True, capture_output=True)
        with open(os.path.join(out, "console.log"), "w+", errors="replace") as log:
            subprocess.run([PROGRAM, f"mem={memory_mib}M", "rootfstype=hostfs", "rw", f"init={program}",
                            f"BUILD={BUILD}", f"OUT={out}", f"ubd0={swap}", "con=null", "con0=null,fd:1", "quiet",
                            f"uml_dir={out}", "umid=failoverd-test"],
                           stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=seconds, check=False,
                           env={**os.environ, "TMPDIR": _memory_dir(memory_mib, out)})
            print(f"{program}: {time.monotonic() - begun:.0f} s")
            log.seek(0)
            said = log.read()
        if not os.path.exists(os.path.join(out, "found.json")):
            raise RuntimeError(f"{program} did not get to its end: {said[-4000:]}")
        with open(os.path.join(out, "found.json")) as f:
            return json.load(f)
    finally:
        shutil.rmtree(out, ignore_errors=True)
