# SPDX-License-Identifier: LGPL-2.1-or-later
"""An ordinary user's session in a private directory: a message bus and a libvirtd."""
import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile

from .wait import until

USER_OF_ROOT = "nobody"     # who everything runs as when this program runs as root

BUS_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={dir}/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""


def accepts(path):
    """Somebody listens on a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


class Session:
    """`dir` is short, because the paths of unix sockets are limited, and closed to everybody else."""

    _learned = {}   # file: what a libvirtd has asked a QEMU for, which takes a second; the next one is told of it

    def __init__(self, user_of_root=USER_OF_ROOT):
        self.dir = tempfile.mkdtemp(prefix="fo")
        self.bus = self.libvirtd = None
        self.as_user = {}   # arguments of subprocess that make it run as the user
        if os.geteuid() == 0:
            user = pwd.getpwnam(user_of_root)
            self.as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(self.dir, user.pw_uid, user.pw_gid)
        self.env = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin",
            "HOME": self.dir,
            "LC_ALL": "C.UTF-8",
            "XDG_RUNTIME_DIR": self.dir,
            "XDG_CONFIG_HOME": f"{self.dir}/c",
            "XDG_CACHE_HOME": f"{self.dir}/cache",
            "XDG_DATA_HOME": f"{self.dir}/data",
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={self.dir}/bus",
        }
        self.make_dir("c/libvirt")
        # Without this libvirtd starts a log daemon of its own for each session.
        self.write("c/libvirt/qemu.conf", 'stdio_handler = "file"\n')
        for name, text in self._learned.items():
            self.make_dir(os.path.dirname(name))
            self.write(name, text)

    # ---- files and programs ----

    def path(self, name):
        return os.path.join(self.dir, name)

    def _own(self, path):
        if self.as_user:
            os.chown(path, self.as_user["user"], self.as_user["group"])

    def make_dir(self, name):
        path = self.dir
        for part in name.split("/"):
            path = os.path.join(path, part)
            if not os.path.isdir(path):
                os.mkdir(path, 0o700)
                self._own(path)
        return path

    def write(self, name, text):
        path = self.path(name)
        with open(path, "w") as f:
            f.write(text)
        self._own(path)
        return path

    def copy(self, source, name):
        """Copies a file in, with its mode: the user may not be able to reach the source tree."""
        path = self.path(name)
        shutil.copy(source, path)
        self._own(path)
        return path

    def make_disk(self, name, mib):
        """An empty raw image; there already, it is left as it is."""
        path = self.path(name)
        if not os.path.exists(path):
            self.write(name, "")
            os.truncate(path, mib << 20)
        return path

    def spawn(self, *command, log=None, env=None):
        """Starts a program as the user. `log`: file that takes its output, appended."""
        output = open(self.path(log), "ab") if log else subprocess.DEVNULL
        try:
            return subprocess.Popen(command, cwd=self.dir, env={**self.env, **(env or {})}, stdin=subprocess.DEVNULL,
                                    stdout=output, stderr=subprocess.STDOUT, start_new_session=True, **self.as_user)
        finally:
            if log:
                output.close()

    def run(self, *command, seconds=60, check=True, env=None):
        """Runs a program as the user to its end."""
        done = subprocess.run(command, cwd=self.dir, env={**self.env, **(env or {})}, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=seconds, **self.as_user)
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    # ---- daemons ----

    def start_bus(self):
        self.write("bus.conf", BUS_CONFIG.format(dir=self.dir))
        self.bus = self.spawn("dbus-daemon", f"--config-file={self.dir}/bus.conf", "--nofork", "--nopidfile",
                              "--nosyslog", log="bus.log")
        until(lambda: accepts(self.path("bus")), 10, "the session bus listens")

    def start_libvirtd(self):
        self.libvirtd = self.spawn("libvirtd", log="libvirtd.log")
        until(lambda: self.virsh("uri", check=False).returncode == 0, 30, "libvirtd answers")

    def virsh(self, *arguments, seconds=60, check=True):
        return self.run("virsh", "-q", "-c", "qemu:///session", *arguments, seconds=seconds, check=check)

    # ---- the end ----

    def processes(self):
        """Pids of everything that names this directory on its command line: it is nobody else's."""
        mark = os.fsencode(self.dir) + b"/"
        found = []
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) == os.getpid():
                continue
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as f:
                    if mark in f.read():
                        found.append(int(entry))
            except OSError:
                pass
        return found

    def close(self):
        """Ends everything that still runs here and removes the directory."""
        for daemon in (self.libvirtd, self.bus):
            if daemon and daemon.poll() is None:
                daemon.send_signal(signal.SIGCONT)
                daemon.kill()
                daemon.wait()
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        until(lambda: not self.processes(), 20, lambda: f"processes {self.processes()} end")
        for path in glob.glob(self.path("cache/libvirt/qemu/**/*.xml"), recursive=True):
            with open(path) as f:
                self._learned[os.path.relpath(path, self.dir)] = f.read()
        shutil.rmtree(self.dir, ignore_errors=True)
