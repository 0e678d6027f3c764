# SPDX-License-Identifier: LGPL-2.1-or-later
"""failoverd as it is installed: a system service beside the system's libvirt, under a systemd of its own.

The same faces as session.py, guests.py, failoverd.py and stand.py have, so that the same checks can be made.
"""
import json
import os
import shutil
import signal
import subprocess
import tempfile

from . import nspawn
from .failoverd import Control
from .guests import BUILD, SOURCE, Guests
from .session import Session
from .stand import Stand
from .wait import NotInTime, until

# Debian's libvirtd, without what a container in a container does not give it: control groups, a /dev of its own for
# each guest, AppArmor. QEMU runs as its own user, as everywhere.
QEMU_CONF = """\
cgroup_controllers = []
namespaces = []
security_driver = "none"
"""

POLICY = "/etc/failoverd/policy.yaml"


def obstacle():
    """Why the installed product cannot be tried here; None where it can."""
    with open(f"{BUILD}/meson-info/intro-buildoptions.json") as f:
        prefix = next(option["value"] for option in json.load(f) if option["name"] == "prefix")
    if prefix != "/usr":
        return f"{BUILD} has the prefix {prefix}, where systemd does not look: meson configure -Dprefix=/usr {BUILD}"
    return nspawn.obstacle()


def install(directory):
    """`meson install` into a directory. Returns the files, as they will be named."""
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", directory], check=True,
                   capture_output=True, text=True, timeout=60)
    return sorted(os.path.join(folder, name)[len(directory):] for folder, _, names in os.walk(directory)
                  for name in names)


def readme_steps():
    """What README tells to do once the files are installed."""
    with open(f"{SOURCE}/README.md") as f:
        text = f.read()
    steps = text[text.index("**Build and install**"):].split("```")[1]
    lines = [line.strip() for line in steps.splitlines()[1:] if line.strip()]
    assert lines[:2] == ["meson setup build", "meson install -C build"], lines
    return lines[2:]


class System(Session):
    """The container takes the place of a session's private directory; `dir` is at the same path inside."""

    def __init__(self):
        self.bus = self.libvirtd = self.container = None
        self.as_user = {}
        self.dir = tempfile.mkdtemp(prefix="fo", dir="/var/tmp")
        os.chmod(self.dir, 0o755)
        try:
            self.container = nspawn.Container(self.dir)
            self.installed = self._bring_in()
        except BaseException:
            self.close()
            raise

    def _bring_in(self):
        """Installs the product in the container. Returns its files."""
        stage = self.path("stage")
        files = install(stage)
        self.container.run("sh", "-c", 'cp -a "$0"/usr/. /usr/', stage)
        shutil.rmtree(stage)
        for step in readme_steps():
            self.container.run("sh", "-ec", step)
        return files

    def make_dir(self, name):
        path = super().make_dir(name)
        os.chmod(path, 0o755)   # QEMU has to pass
        return path

    def spawn(self, *command, log=None, env=None):
        with open(self.path(log) if log else os.devnull, "ab") as output:
            return self.container.spawn(*command, output=output, env=env)

    def run(self, *command, seconds=60, check=True, env=None, user=None):
        return self.container.run(*command, seconds=seconds, check=check, env=env, user=user)

    def start_libvirtd(self):
        # It would ask machined for a control group for each guest, which takes more than a minute in a container.
        self.container.run("rm", "-f", "/usr/share/dbus-1/system-services/org.freedesktop.machine1.service")
        self.container.systemctl("reload", "dbus.service")
        self.container.put("/etc/libvirt/qemu.conf", QEMU_CONF, "600")
        self.container.systemctl("start", "libvirtd.socket", "libvirtd.service")
        until(lambda: self.virsh("uri", check=False).returncode == 0, 30, "libvirtd answers")

    def virsh(self, *arguments, seconds=60, check=True):
        return self.run("virsh", "-q", "-c", "qemu:///system", *arguments, seconds=seconds, check=check)

    def close(self):
        if self.container:
            self.container.close()
        shutil.rmtree(self.dir, ignore_errors=True)


def pid_inside(container, pid_file, domain):
    """The process that libvirt's pid file names, as the container counts; None where it is not the domain's QEMU."""
    inside = f"/proc/{container.leader}/root"
    try:
        with open(f"{inside}{pid_file}") as f:
            pid = int(f.read())
        with open(f"{inside}/proc/{pid}/cmdline") as f:
            return pid if f"guest={domain}," in f.read() else None
    except (OSError, ValueError):
        return None


class SystemGuests(Guests):
    """Guests whose sockets are where README and libvirt put them."""

    def define(self, name, base_mib, apps, *options):
        super().define(name, base_mib, apps, "--agent=libvirt", "--echo-dir=/run/failoverd", *options)

    def pid(self, name):
        """As the container counts them."""
        return pid_inside(self.session.container, f"/run/libvirt/qemu/{name}.pid", name)

    def kill(self, name, number=signal.SIGKILL):
        self.session.run("kill", f"-{int(number)}", str(self.pid(name)))


class SystemFailoverd(Control):
    """The service, and failoverctl as root."""

    def __init__(self, session):
        super().__init__(session, ["failoverctl"])
        self.container = session.container

    def put_policy(self, text):
        self.container.put(POLICY, text, "640", "failoverd:failoverd")

    def start(self, policy=None, seconds=30):
        if policy is not None:
            self.put_policy(policy)
        done = self.container.systemctl("start", "failoverd.service", seconds=seconds, check=False)
        if done.returncode != 0:
            raise NotInTime(f"failoverd did not start: {done.stderr}\n{self.log(30)}")

    def pid(self):
        return int(self.container.show("failoverd.service", "MainPID"))

    def restarts(self):
        """How often systemd has started it anew by itself."""
        return int(self.container.show("failoverd.service", "NRestarts"))

    def log(self, lines=60):
        return self.container.journal("-u", "failoverd.service", "-u", "failoverd-helper.service", "-n", str(lines))

    def signal(self, number):
        self.session.run("kill", f"-{int(number)}", str(self.pid()))

    def kill(self):
        self.signal(9)

    def stop(self, seconds=20):
        self.container.systemctl("stop", "failoverd.service", seconds=seconds)
        return int(self.container.show("failoverd.service", "ExecMainStatus"))

    def close(self):
        pass    # ends with the container

    def ctl_as(self, user, *arguments, seconds=60):
        return self.session.run(*self.command, *arguments, seconds=seconds, check=False, user=user)


class InstalledStand(Stand):
    """As Stand, with what is installed."""

    def __init__(self, policy, pair, domains, base_mib, regions):
        self.policy = policy
        self.pair_name = pair
        self.domains = domains
        self.session = self.guests = self.failoverd = None
        try:
            self.guests = self.begin()
            for domain in domains:
                self.guests.define(domain, base_mib, regions)
            self.failoverd = self.start(policy)
        except BaseException:
            self.close()
            raise

    def begin(self):
        """Libvirt in a session; returns the guests-to-be."""
        raise NotImplementedError

    def start(self, policy):
        """Returns failoverd."""
        raise NotImplementedError


class SystemStand(InstalledStand):
    """As Stand, with failoverd.service of the system."""

    def begin(self):
        self.session = System()
        self.session.start_libvirtd()
        return SystemGuests(self.session)

    def start(self, policy):
        failoverd = SystemFailoverd(self.session)
        failoverd.start(policy)
        return failoverd


class UserSession(System):
    """The session of an ordinary user under the same systemd: everything runs as that user."""

    user = "dave"

    def __init__(self):
        super().__init__()
        try:
            self.container.run("useradd", "--create-home", self.user)
            self.uid = int(self.container.run("id", "-u", self.user).stdout)
            self.as_user = {"user": self.uid, "group": int(self.container.run("id", "-g", self.user).stdout)}
            os.chown(self.dir, self.as_user["user"], self.as_user["group"])
            self.container.systemctl("start", f"user@{self.uid}.service")
        except BaseException:
            self.close()
            raise

    def run(self, *command, seconds=60, check=True, env=None, user=None):
        runtime = f"/run/user/{self.uid}"
        session = {"XDG_RUNTIME_DIR": runtime, "HOME": f"/home/{self.user}",
                   "DBUS_SESSION_BUS_ADDRESS": f"unix:path={runtime}/bus",
                   "LIBVIRT_AUTOSTART": "0"}    # a virsh of ours must not start the libvirtd that we look at
        return self.container.run(*command, seconds=seconds, check=check, env={**session, **(env or {})},
                                  user=user or self.user)

    def systemctl(self, *words, seconds=60):
        return self.run("systemctl", "--user", *words, seconds=seconds)

    def unit_pids(self, unit):
        """Processes in a unit's control group, as the container counts them."""
        group = self.systemctl("show", "--value", "-p", "ControlGroup", unit).stdout.strip()
        if not group:
            return []
        tree = next(tree for tree in ("systemd", "unified", "") if self.container.run(
            "test", "-e", f"/sys/fs/cgroup/{tree}{group}/cgroup.procs", check=False).returncode == 0)
        return [int(pid) for pid in
                self.container.run("cat", f"/sys/fs/cgroup/{tree}{group}/cgroup.procs").stdout.split()]

    def virsh(self, *arguments, seconds=60, check=True):
        return self.run("virsh", "-q", "-c", "qemu:///session", *arguments, seconds=seconds, check=check)


class UserGuests(Guests):
    def pid(self, name):
        """As the container counts them."""
        return pid_inside(self.session.container, f"/run/user/{self.session.uid}/libvirt/qemu/run/{name}.pid", name)


class UserStand(InstalledStand):
    """As Stand, with failoverd.service of a user manager."""

    def begin(self):
        self.session = UserSession()
        self.session.systemctl("start", "failoverd-libvirtd.service")
        return UserGuests(self.session)

    def start(self, policy):
        config = f"/home/{self.session.user}/.config/failoverd"
        self.session.run("mkdir", "-p", config)
        self.session.run("cp", self.session.write("policy.yaml", policy), f"{config}/policy.yaml")
        self.session.systemctl("start", "failoverd.service")
        return Control(self.session, ["failoverctl", "--user"])

    def close(self):
        if self.guests:
            self.guests.close()
        if self.session:
            self.session.close()

    def journal(self):
        return self.session.container.journal("-n", "80", f"_UID={self.session.uid}")
