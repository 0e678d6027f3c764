#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""PID 1 of a kernel with the memory controller of cgroup v2 (testbed/uml.py), started by test_cgroups.py: begins a
systemd, with this machine's files, which runs it again as a service. Two real QEMUs in scopes such as libvirt makes,
and the real helper behind the walls of its unit: what systemd knows of the memory that they get is written down.
"""
import glob
import json
import os
import shutil
import subprocess
import sys
import time
import traceback

import inside_cgroups
from inside_cgroups import BUILD, OUT, RUN, Host, Vm, limits, mount, noted, number, until, write

ROOT = "/mnt/root"      # of the systemd: this machine's, written to in memory only
MASKED = ("systemd-tmpfiles-setup", "systemd-tmpfiles-setup-dev", "systemd-logind", "systemd-user-sessions",
          "systemd-timesyncd", "systemd-update-utmp", "systemd-update-utmp-runlevel", "systemd-random-seed",
          "systemd-modules-load", "systemd-remount-fs", "systemd-sysctl", "getty-static", "getty@tty1", "e2scrub_reap",
          "modprobe@configfs", "modprobe@dm_mod", "modprobe@drm", "modprobe@efi_pstore", "modprobe@fuse",
          "modprobe@loop", "systemd-journal-flush", "systemd-machine-id-commit")
STORY = """\
[Unit]
After=dbus.service basic.target failoverd-helper.socket
Wants=dbus.service failoverd-helper.socket
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
Environment=BUILD={build} OUT=/host
ExecStart=/usr/bin/python3 {program} story
"""
HELPER = """\
[Service]
ExecStart=
ExecStart={program} --user=root --run-dir={run}
"""
SOCKET = """\
[Socket]
SocketUser=root
SocketGroup=root
"""


def put(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write(path, text)


def begin_systemd():
    mount("proc", "/proc")
    for module in glob.glob(f"/usr/lib/uml/modules/{os.uname().release}/kernel/fs/overlayfs/overlay.ko"):
        subprocess.run(["/sbin/insmod", module], check=True)
    mount("tmpfs", "/mnt")
    for name in ("root", "upper", "work"):
        os.mkdir(f"/mnt/{name}")
    mount("overlay", ROOT, "lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work")
    units = f"{ROOT}/etc/systemd/system"
    mount("tmpfs", units)
    mount("tmpfs", f"{ROOT}/usr/lib/systemd/system-generators")
    os.mkdir(f"{ROOT}/host")
    mount("hostfs", f"{ROOT}/host", OUT)
    for name in MASKED:
        os.symlink("/dev/null", f"{units}/{name}.service")
    helper = f"{ROOT}/usr/libexec/failoverd/failoverd-helper"
    os.makedirs(os.path.dirname(helper), exist_ok=True)
    shutil.copy(f"{BUILD}/daemon/helper/failoverd-helper", helper)
    shutil.copy(f"{BUILD}/etc/failoverd-helper.service", units)
    source = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    shutil.copy(f"{source}/etc/failoverd-helper.socket", units)
    put(f"{units}/failoverd-helper.service.d/test.conf", HELPER.format(program=helper[len(ROOT):], run=RUN))
    put(f"{units}/failoverd-helper.socket.d/test.conf", SOCKET)
    put(f"{units}/story.service", STORY.format(build=BUILD, program=os.path.abspath(__file__)))
    os.makedirs(f"{units}/multi-user.target.wants")
    os.symlink("../story.service", f"{units}/multi-user.target.wants/story.service")
    os.chroot(ROOT)
    os.chdir("/")
    os.execv("/lib/systemd/systemd", ["systemd", "--unit=multi-user.target"])


def scope(name, number):
    return f"machine-qemu\\x2d{number}\\x2d{name}.scope"


def start(name, number):
    return Vm(name, f"/machine.slice/{scope(name, number)}",
              ("systemd-run", "--scope", "--quiet", "--slice=machine.slice", f"--unit={scope(name, number)}"))


def systemctl(*words):
    return subprocess.run(["systemctl", *words], check=True, capture_output=True, text=True, timeout=60).stdout


def properties(unit):
    said = systemctl("show", "-p", "MemoryMin,MemoryLow,MemoryHigh", unit)
    return dict(line.split("=") for line in said.splitlines())


def hard_limit():
    """Of the slice: in its file, and as systemd has it."""
    said = systemctl("show", "-p", "MemoryMax", "machine.slice").strip()
    return {"file": number("/machine.slice", "memory.max"), "unit": said.partition("=")[2]}


def tell(found):
    subprocess.run(["/sbin/swapon", "/dev/ubda"], check=True)
    os.mkdir(RUN)
    inside_cgroups.SOCKET = "/run/failoverd-helper.sock"
    old, new = start("old", 1), start("new", 2)
    units = ("machine.slice", scope("old", 1), scope("new", 2))
    groups = ("/machine.slice", old.group, new.group)

    def read():
        return {"files": [limits(group) for group in groups], "units": [properties(unit) for unit in units],
                "noted": noted()}

    def settled():
        """What was read, where it is the same a second later: the shares follow what was touched twice a second."""
        was = read()
        time.sleep(1)
        return was if was == read() else None

    def note(step):
        found[step] = until(settled, 30, lambda: f"{step} settles: {read()}")

    old.answer()
    new.answer()
    note("before")
    host = Host(old, new)
    note("during")
    systemctl("daemon-reload")
    note("reloaded")
    host.limit_pool("machine.slice", 500)
    found["limited"] = hard_limit()
    systemctl("set-property", "--runtime", "machine.slice", "MemoryLow=1G")
    host.crash()
    host = Host(old, new)
    found["unlimited"] = hard_limit()
    host.close()
    found["said"] = host.said()
    until(lambda: not noted(), 20, lambda: f"everything is given back: {noted()}")
    note("ended")


def story():
    found = {}
    try:
        tell(found)
    except BaseException:
        found["error"] = traceback.format_exc()
        found["helper"] = subprocess.run(["journalctl", "--no-pager", "-n", "40"], capture_output=True, text=True,
                                         check=False).stdout[-4000:]
    write(f"{OUT}/found.json", json.dumps(found))
    os.sync()


if __name__ == "__main__":
    if sys.argv[1:] == ["story"]:
        story()
    else:
        begin_systemd()
