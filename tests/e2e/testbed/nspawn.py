# SPDX-License-Identifier: LGPL-2.1-or-later
"""A systemd as PID 1 beside the machine's own: a container whose root is this machine's, written to in memory only.

Nothing of the machine's configuration runs in it: its enabled units, its libvirt domains and its file systems are
hidden. What is installed in the container, and every user made there, is gone with it.
"""
import os
import shutil
import signal
import subprocess

from .guests import domain_type
from .wait import until

HIDDEN = ("/etc/systemd/system", "/etc/init.d", "/etc/libvirt/qemu", "/etc/libvirt/storage", "/etc/libvirt/nwfilter",
          "/etc/libvirt/secrets", "/etc/libvirt/hooks", "/var/lib/libvirt", "/var/log", "/etc/cron.d")
EMPTY = ("/etc/fstab", "/etc/crypttab")
NEEDED = ("systemd-nspawn", "unshare", "nsenter", "dbus-daemon", "libvirtd", "runuser", "systemd-analyze")
UNITS = ("libvirtd.service", "polkit.service", "dbus.service")
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

# In a mount namespace of its own, because systemd-nspawn refuses / itself; in a control group of its own, because it
# makes groups beside its own.
BOOT = """
set -eu
root=$1; shift
while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs"; shift; done
shift
mount --bind / "$root"
exec "$@"
"""


def obstacle():
    """Why no such container can be had here; None where it can."""
    if os.geteuid() != 0:
        return "a container with systemd needs root"
    missing = [name for name in NEEDED if not shutil.which(name, path=PATH)]
    missing += [name for name in UNITS if not os.path.exists(f"/lib/systemd/system/{name}")]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if any(os.stat(part).st_dev != os.stat("/").st_dev for part in ("/usr", "/etc", "/var")):
        return "/usr, /etc or /var is a file system of its own"
    probe = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--propagation", "private", "mount", "--bind", "/",
                            "/mnt"], capture_output=True, text=True)
    if probe.returncode != 0:
        return f"no namespaces here: {probe.stderr.strip()}"
    if not os.path.isdir("/run/systemd/system"):
        for tree in cgroup_trees():
            if not os.path.exists(f"{tree}/cgroup.procs") or not os.access(tree, os.W_OK):
                return f"no control group can be made in {tree}"
    return None


def cgroup_trees():
    """Directories in which a control group has to be made for a systemd to run in."""
    top = "/sys/fs/cgroup"
    found = [f"{top}/{name}" for name in ("systemd", "unified") if os.path.exists(f"{top}/{name}/cgroup.procs")]
    return found or [top]


class Container:
    """`directory` is seen inside at the same path. Its file `console.log` has what systemd-nspawn says."""

    def __init__(self, directory):
        self.name = "failover-test"    # one at a time, see stand.Lock
        self.leader = None
        self._directory = directory
        self._root = os.path.join(directory, "root")
        self._nspawn = None
        # Where a systemd is PID 1 already it gives the container its place; otherwise nobody else does.
        self._groups = [] if os.path.isdir("/run/systemd/system") else \
            [f"{tree}/{self.name}" for tree in cgroup_trees()]
        for group in self._groups:
            os.makedirs(group, exist_ok=True)    # one may be left of a run that was killed
        try:
            self._boot()
        except BaseException:
            self.close()
            raise

    def _command(self):
        root, empty = self._root, os.path.join(self._directory, "empty")
        os.mkdir(root)
        open(empty, "w").close()
        command = ["systemd-nspawn", "--quiet", "--register=no", "--boot", "--private-network", "--link-journal=no",
                   "--resolv-conf=off", "--timezone=off", "--console=pipe", f"--machine={self.name}",
                   "--capability=CAP_IPC_LOCK,CAP_SYS_RESOURCE",
                   f"--directory={root}", "--volatile=overlay", f"--bind={self._directory}"]
        command += [f"--tmpfs={path}:mode=0755" for path in HIDDEN if os.path.isdir(path)]
        command += [f"--bind-ro={empty}:{path}" for path in EMPTY if os.path.exists(path)]
        if self._groups:
            command.append("--keep-unit")
        if domain_type() == "kvm":
            command.append("--bind=/dev/kvm")
        command += ["--", "--unit=multi-user.target"]
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", BOOT, "boot", root, *self._groups, "--",
                *command]

    def _boot(self):
        with open(os.path.join(self._directory, "console.log"), "wb") as log:
            self._nspawn = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=subprocess.STDOUT, env={"PATH": PATH, "LC_ALL": "C.UTF-8"})
        self.leader = until(self._find_leader, 30, lambda: f"systemd starts: {self.log()}")
        until(self._is_up, 60, lambda: f"systemd is up: {self.log()}")

    def log(self):
        with open(os.path.join(self._directory, "console.log"), errors="replace") as f:
            return f.read()[-3000:]

    def _find_leader(self):
        if self._nspawn.poll() is not None:
            raise RuntimeError(f"systemd-nspawn ended with {self._nspawn.returncode}: {self.log()}")
        pid = self._nspawn.pid
        try:
            with open(f"/proc/{pid}/task/{pid}/children") as f:
                children = f.read().split()
            for child in children:
                with open(f"/proc/{child}/comm") as f:
                    if f.read().strip() == "systemd":
                        return int(child)
        except OSError:
            pass
        return None

    def _is_up(self):
        return self.systemctl("is-system-running", check=False).stdout.strip() in ("running", "degraded")

    # ---- inside ----

    def _inside(self, command, user):
        as_user = ["runuser", "-u", user, "--"] if user else []
        return ["nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-n", "-p", "-C", "--", *as_user, *command]

    def _env(self, env):
        return {"PATH": PATH, "LC_ALL": "C.UTF-8", "SYSTEMD_PAGER": "", **(env or {})}

    def run(self, *command, user=None, check=True, seconds=60, input=None, env=None):
        """Runs a program in the container to its end, as root or another user."""
        stdin = {"stdin": subprocess.DEVNULL} if input is None else {"input": input}
        done = subprocess.run(self._inside(command, user), capture_output=True, text=True, timeout=seconds,
                              env=self._env(env), **stdin)
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def spawn(self, *command, user=None, output=subprocess.DEVNULL, env=None):
        return subprocess.Popen(self._inside(command, user), stdin=subprocess.DEVNULL, stdout=output,
                                stderr=subprocess.STDOUT, env=self._env(env))

    def put(self, path, text, mode="644", owner="root:root"):
        """Writes a file at once."""
        self.run("sh", "-ec", 'umask 077; cat > "$0.new"; chown "$2" "$0.new"; chmod "$1" "$0.new"; mv "$0.new" "$0"',
                 path, mode, owner, input=text)

    def systemctl(self, *words, seconds=60, check=True):
        return self.run("systemctl", *words, seconds=seconds, check=check)

    def show(self, unit, name):
        """One property of a unit."""
        return self.systemctl("show", "--value", "-p", name, unit).stdout.strip()

    def journal(self, *words):
        return self.run("journalctl", "--no-pager", *words, check=False).stdout

    # ---- the end ----

    def close(self):
        """The container's PID 1 takes everything inside with it."""
        if self.leader:
            try:
                os.kill(self.leader, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.leader = None
        if self._nspawn:
            try:
                self._nspawn.wait(20)
            except subprocess.TimeoutExpired:
                self._nspawn.kill()
                self._nspawn.wait()
        for group in self._groups:
            for path, _, _ in os.walk(group, topdown=False):
                until(lambda: self._remove_group(path), 10, f"control group {path} is empty")
        self._groups = []
        # Empty here: the machine's root was bound to it in another mount namespace. Never recursively.
        if os.path.exists(self._root):
            os.rmdir(self._root)

    @staticmethod
    def _remove_group(path):
        try:
            os.rmdir(path)
        except FileNotFoundError:
            pass
        except OSError:
            return False
        return True
