#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""PID 1 of a kernel with the memory controller of cgroup v2 (testbed/uml.py), started by test_cgroups.py.

Two real QEMUs, whose guest touches what it is told to, the real helper, and the host's part of failoverd while a region
goes from one to the other. What becomes of their memory is written down; what is to be expected of it is
test_cgroups.py's matter.
"""
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import time
import traceback

BUILD, OUT = os.environ.get("BUILD"), os.environ.get("OUT")
GROUPS = "/sys/fs/cgroup"
RUN = "/run/qemu"
SOCKET = "/run/helper.sock"
MIB = 1 << 20
# In MiB. A QEMU of this size has 30 of its own.
MEMORY = 200                # of this kernel
REGION, SYSTEM = 48, 36
FIRST = 2                   # of the region: the guest's program is below
OLD_END, NEW_END = 46, 42   # so much each touches of it
OLD_AT_MOST = SYSTEM + 16 + REGION - (NEW_END - FIRST)  # what it manages, 16 beside it, what is not touched yet
HOG = 100
LIMITS = ("memory.min", "memory.low", "memory.high")
POWER_OFF = 0x4321fedc      # reboot(2)


def mount(kind, where, options=""):
    if ctypes.CDLL(None, use_errno=True).mount(kind.encode(), where.encode(), kind.encode(), 0, options.encode()) != 0:
        raise OSError(ctypes.get_errno(), f"mount {where}")


def write(path, text):
    with open(path, "w") as f:
        f.write(str(text))


def number(group, name):
    """In MiB, where it is no "max"."""
    with open(f"{GROUPS}{group}/{name}") as f:
        text = f.read().strip()
    return text if text == "max" else int(text) // MIB


def limits(group):
    return {limit: number(group, limit) for limit in LIMITS}


def killed(group):
    with open(f"{GROUPS}{group}/memory.events") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("oom_kill "))


def noted():
    """Groups that say of themselves that they were changed."""
    return [path[len(GROUPS):] for path, _, _ in os.walk(GROUPS) if "user.failoverd.memory" in os.listxattr(path)]


def until(condition, seconds, what):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise TimeoutError(what() if callable(what) else what)


class Vm:
    """A QEMU as libvirt starts one, as far as failoverd looks, in a group of its own. `start`: what puts it there;
    `backend`: its memory is anonymous ("ram") or a file ("memfd")."""

    def __init__(self, name, group, start=(), backend="ram"):
        self.name, self.group = name, group
        memory = json.dumps({"qom-type": f"memory-backend-{backend}", "id": "memua-db", "size": REGION * MIB},
                            separators=(",", ":"))
        self.process = subprocess.Popen(
            [*start, "qemu-system-x86_64", "-name", f"guest={name}", "-machine", "q35,memory-backend=memua-db", "-m",
             str(REGION), "-object", memory, "-nodefaults", "-display", "none", "-serial", "stdio", "-accel",
             "tcg,tb-size=8", "-kernel", f"{BUILD}/tests/guest/toucher"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=None if start else self._enter)
        write(f"{RUN}/{name}.pid", self.process.pid)

    def _enter(self):
        os.mkdir(f"{GROUPS}{self.group}")
        write(f"{GROUPS}{self.group}/cgroup.procs", 0)

    def answer(self):
        byte = self.process.stdout.read(1)
        if not byte:
            raise RuntimeError(f"{self.name} ended with {self.process.wait()}")
        return byte == b"+"

    def _do(self, command, end):
        self.process.stdin.write(f"{command} {FIRST} {end}\n".encode())
        self.process.stdin.flush()
        return self.answer()

    def touch(self, end):
        return self._do("f", end)

    def is_intact(self, end):
        return self._do("v", end)

    def close(self):
        self.process.kill()
        self.process.wait()


class Host:
    """The host's part of failoverd."""

    def __init__(self, old, new):
        self._log = f"/run/host-{time.monotonic_ns()}.log"
        with open(self._log, "wb") as log:
            self.process = subprocess.Popen(
                [f"{BUILD}/tests/e2e/handover-host", SOCKET, old.name, str(old.process.pid), new.name,
                 str(new.process.pid), str(REGION), str(SYSTEM)],
                stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT)
        for vm in (old, new):
            until(lambda: any(line.startswith(f"{vm.name}: ") and "protected: " in line for line in self.said()), 30,
                  lambda: f"{vm.name} has its share: {self.said()}")

    def said(self):
        with open(self._log) as f:
            return f.read().splitlines()

    def _ask(self, command, pattern):
        before = len(self.said())
        self.process.stdin.write(command.encode() + b"\n")
        self.process.stdin.flush()
        return until(lambda: next(filter(None, map(re.compile(pattern).fullmatch, self.said()[before:])), None), 60,
                     lambda: f"an answer to {command}: {self.said()}")

    def page_out(self):
        """All that the old user has of the region."""
        assert self._ask("out", r"paged out: (.+)")[1] == "0"

    def limit_pool(self, name, mib):
        """The group of this name above both gets a hard limit, once what is above it is paged out."""
        self._ask(f"pool {name} {mib}", rf"pool: {mib} MiB in /{name}")

    def parts(self, vm):
        """What of its region is in memory, and what is paged out, in MiB."""
        match = self._ask("parts", rf"{vm.name}: (\d+) in memory, (\d+) paged out")
        return {"resident": int(match[1]), "swapped": int(match[2])}

    def close(self):
        self.process.stdin.close()
        self.process.wait()

    def crash(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class Hog:
    """Somebody else's memory."""

    def __init__(self, mib):
        os.mkdir(f"{GROUPS}/hog")
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"memory = bytearray(b'x') * ({mib} << 20)\nprint('+', flush=True)\ninput()"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=lambda: write(f"{GROUPS}/hog/cgroup.procs", 0))
        self.process.stdout.read(1)

    def close(self):
        self.process.kill()
        self.process.wait()
        os.rmdir(f"{GROUPS}/hog")


class Story:
    def __init__(self):
        self.found = {"begun": time.monotonic()}
        self.old, self.new = Vm("old", "/pool/old", backend="memfd"), Vm("new", "/pool/new")
        self.groups = {"pool": "/pool", "old": self.old.group, "new": self.new.group}
        self.old.answer()
        self.new.answer()

    def note(self, step, **more):
        self.found[step] = {
            **more, "seconds": round(time.monotonic() - self.found["begun"], 1), "noted": noted(),
            **{name: {**limits(group), "current": number(group, "memory.current"),
                      "swap": number(group, "memory.swap.current"), "killed": killed(group)}
               for name, group in self.groups.items()}}

    def use_all(self):
        """Both go through what they have, so that both want it all."""
        return self.new.is_intact(NEW_END) and self.old.is_intact(OLD_END) and self.new.is_intact(NEW_END)

    def tell(self):
        old, new = self.old, self.new
        old.touch(OLD_END)
        self.note("before")
        host = Host(old, new)
        new.touch(NEW_END)
        until(lambda: number(old.group, "memory.high") != "max" and number(old.group, "memory.high") <= OLD_AT_MOST,
              30, lambda: f"the old user is bounded: {number(old.group, 'memory.current')} MiB, {host.said()}")
        self.note("bounded", said=host.said())

        write(f"{GROUPS}/pool/memory.max",
              (number(old.group, "memory.current") + number(new.group, "memory.current") - 12) * MIB)
        self.note("capped", max=number("/pool", "memory.max"), intact=self.use_all())
        write(f"{GROUPS}/pool/memory.max", "max")

        hog = Hog(HOG)
        self.note("short", intact=new.is_intact(NEW_END), hog=number("/hog", "memory.swap.current"))
        hog.close()

        host.crash()
        self.note("crashed")
        host = Host(old, new)
        self.note("again", said=host.said())
        self.use_all()
        host.limit_pool("pool", SYSTEM + number(new.group, "memory.current") + 8)
        self.note("limited", max=number("/pool", "memory.max"), intact=self.use_all())
        host.page_out()
        self.note("paged", parts={vm.name: host.parts(vm) for vm in (old, new)})
        host.close()
        self.note("ended", said=host.said(), max=number("/pool", "memory.max"),
                  intact=old.is_intact(OLD_END) and new.is_intact(NEW_END))
        old.close()
        new.close()


def main():
    found = {}
    try:
        mount("proc", "/proc")
        mount("sysfs", "/sys")
        mount("tmpfs", "/run")
        mount("cgroup2", GROUPS)
        os.mkdir(RUN)
        subprocess.run(["/sbin/swapon", "/dev/ubda"], check=True)
        write(f"{GROUPS}/cgroup.subtree_control", "+memory")
        os.mkdir(f"{GROUPS}/pool")
        write(f"{GROUPS}/pool/cgroup.subtree_control", "+memory")
        with open(f"{OUT}/helper.log", "wb") as log:
            subprocess.Popen([f"{BUILD}/daemon/helper/failoverd-helper", "--user=root", f"--socket={SOCKET}",
                              f"--run-dir={RUN}"], stdout=log, stderr=log)
        until(lambda: os.path.exists(SOCKET), 30, "the helper listens")
        story = Story()
        found = story.found
        story.tell()
    except BaseException:
        found["error"] = traceback.format_exc()
        with open(f"{OUT}/helper.log") as f:
            found["helper"] = f.read()[-2000:]
    write(f"{OUT}/found.json", json.dumps(found))
    os.sync()


if __name__ == "__main__":
    main()
    ctypes.CDLL(None).reboot(POWER_OFF)
