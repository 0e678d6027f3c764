# SPDX-License-Identifier: LGPL-2.1-or-later
"""Swap for the host, in compressed memory, for as long as a test needs it."""
import os
import subprocess

DEVICE = "/dev/zram0"
SIZE_SETTING = "/sys/block/zram0/disksize"
RESET = "/sys/block/zram0/reset"


def missing():
    """Why there can be no swap here; empty where there can."""
    if os.geteuid() != 0:
        return "swap takes root"
    if not os.path.exists(DEVICE):
        return f"no {DEVICE}"
    with open("/proc/swaps") as f:
        if DEVICE in f.read():
            return f"{DEVICE} is in use"
    return ""


class Swap:
    def __init__(self, mib):
        self._write(RESET, "1")
        self._write(SIZE_SETTING, f"{mib}M")
        subprocess.run(["mkswap", DEVICE], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["swapon", DEVICE], check=True)

    @staticmethod
    def _write(path, text):
        with open(path, "w") as f:
            f.write(text)

    @staticmethod
    def used_kib():
        with open("/proc/swaps") as f:
            return sum(int(line.split()[3]) for line in f.readlines()[1:] if line.startswith(DEVICE))

    def close(self):
        subprocess.run(["swapoff", DEVICE], check=True)
        self._write(RESET, "1")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
