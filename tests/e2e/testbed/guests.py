# SPDX-License-Identifier: LGPL-2.1-or-later
"""The small test guests of a session (tests/guest/build-image, tests/guest/domain-xml)."""
import os
import signal
import subprocess

from .console import Console

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
BUILD = os.environ.get("FAILOVER_BUILD") or os.path.join(SOURCE, "build")
DEVICE_MIB = 128    # memory that Linux on x86 adds at a time; a smaller device stays empty


def domain_type():
    """KVM only where the processor really has it: /dev/kvm alone proves nothing."""
    with open("/proc/cpuinfo") as f:
        flags = next((line.split() for line in f if line.startswith("flags")), [])
    return "kvm" if {"vmx", "svm"} & set(flags) and os.access("/dev/kvm", os.R_OK | os.W_OK) else "qemu"


class Guests:
    """Domains of one session, all of one image, with their consoles."""

    def __init__(self, session, consoles=True):
        self.session = session
        self.consoles = {} if consoles else None
        session.make_dir("s")
        session.make_dir("img")
        self.kernel = session.copy(f"{BUILD}/guest/vmlinuz", "img/vmlinuz")
        self.initrd = session.copy(f"{BUILD}/guest/initramfs.cpio", "img/initramfs.cpio")

    def define(self, name, base_mib, apps, *options):
        """`base_mib` is all boot memory, as the policy says it; `apps` are (name, MiB), a NUMA node each."""
        regions = [f"--app={app}:{-(-mib // DEVICE_MIB) * DEVICE_MIB}:{node}"
                   for node, (app, mib) in enumerate(apps, 1)]
        xml = subprocess.run(
            [f"{SOURCE}/tests/guest/domain-xml", "--name", name, "--sockets", self.session.path("s"),
             "--kernel", self.kernel, "--initrd", self.initrd, "--type", domain_type(),
             "--base", str(base_mib), *regions, *options],
            check=True, capture_output=True, text=True).stdout
        self.session.virsh("define", self.session.write(f"{name}.xml", xml))
        if self.consoles is not None:
            self.consoles[name] = Console(self.session.path(f"s/{name}.console"))

    def __getitem__(self, name):
        return self.consoles[name]

    def pid(self, name):
        """Process id of a domain's QEMU, None where there is none."""
        try:
            with open(self.session.path(f"libvirt/qemu/run/{name}.pid")) as f:
                pid = int(f.read())
            with open(f"/proc/{pid}/cmdline") as f:
                return pid if f"guest={name}," in f.read() else None
        except (OSError, ValueError):
            return None

    def kill(self, name, number=signal.SIGKILL):
        """Signals a domain's QEMU."""
        os.kill(self.pid(name), number)

    def state(self, name):
        return self.session.virsh("domstate", name).stdout.strip()

    def close(self):
        for console in (self.consoles or {}).values():
            console.close()
