# SPDX-License-Identifier: LGPL-2.1-or-later
"""One pair of guests with failoverd above it: what a test or the demo works with."""
import fcntl
import os
import shutil
import signal
import tempfile

from .failoverd import Failoverd
from .guests import Guests
from .helper import Helper
from .session import Session
from .wait import until

BOOT_SECONDS = 90      # two guests under emulation beside other load


class Lock:
    """One set of guests at a time on one machine: two would take each other's processor time."""

    def __init__(self):
        path = os.path.join(tempfile.gettempdir(), "failoverd-e2e.lock")
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another run with guests to end ...", flush=True)
            fcntl.flock(self._file, fcntl.LOCK_EX)

    def release(self):
        os.close(self._file)


def flow_number(flow):
    return int(flow["id"].rsplit("-", 1)[1])


class Stand:
    """`regions` are (application, MiB): the virtio-mem devices of both guests, in order. `domain_options` are options
    of tests/guest/domain-xml, or a function of the session and the domain's name that makes them. `helper`: failoverd
    asks a failoverd-helper, as in system mode; takes root. `program` is what runs as failoverd."""

    helper = None   # failoverd-helper, where one of ours is there

    def __init__(self, policy, pair, domains, base_mib, regions, consoles=True, domain_options=(), start=True,
                 helper=False, program=None):
        self.policy = policy
        self.pair_name = pair
        self.domains = domains
        self.session = self.guests = self.failoverd = self.helper = None
        try:
            self.session = Session()
            self.session.start_bus()
            self.session.start_libvirtd()
            self.guests = Guests(self.session, consoles)
            for domain in domains:
                options = domain_options(self.session, domain) if callable(domain_options) else domain_options
                self.guests.define(domain, base_mib, regions, *options)
            if helper:
                self.helper = Helper(self.session)
            self.failoverd = Failoverd(self.session, self.helper, program)
            if start:
                self.failoverd.start(policy)
        except BaseException:
            self.close()
            raise

    def close(self):
        try:
            if self.failoverd:
                self.failoverd.close()
                self.failoverd.check_recordings()
        finally:
            self.close_guests()

    def close_guests(self):
        if self.guests:
            self.guests.close()
        if self.helper:
            self.helper.close()
        if self.session:
            self.session.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def lose_power(self):
        """What a host's power loss leaves: what is on disk. Guests, libvirtd, failoverd and all that was kept for this
        boot alone are gone; start them again."""
        qemus = [pid for pid in map(self.guests.pid, self.domains) if pid]
        self.failoverd.kill()
        self.session.libvirtd.kill()    # before its guests: it must not note their end
        self.session.libvirtd.wait()
        for pid in qemus:
            os.kill(pid, signal.SIGKILL)
        until(lambda: not any(map(self.guests.pid, self.domains)), 20, "the guests are gone")
        for name in ("runtime", "libvirt"):
            shutil.rmtree(self.session.path(name))
        self.session.make_dir("runtime")

    # ---- the pair ----

    def status(self):
        return self.failoverd.pair(self.pair_name)

    def wait_armed(self, seconds=BOOT_SECONDS):
        return self.failoverd.wait_state(self.pair_name, "armed", seconds)

    @property
    def active(self):
        return self.status()["active"]["domain"]

    @property
    def standby(self):
        active = self.active
        return next(domain for domain in self.domains if domain != active)

    def member(self, domain):
        return next(m for m in self.status()["members"] if m["domain"] == domain)

    def application(self, name):
        return next(a for a in self.status()["applications"] if a["name"] == name)

    def running_on(self, name):
        """Domains where the agent says that an application runs."""
        return [side["domain"] for side in self.application(name)["sides"] if side["state"] == "running"]

    def wait_failover(self, number_before, seconds=30):
        """Until a further failover of the pair has come to its end; returns it (history's flow)."""
        def latest():
            flows = [f for f in self.failoverd.flows(self.pair_name) if f["ok"] is not None]
            return flows[0] if flows and flow_number(flows[0]) > number_before else None

        return until(latest, seconds, lambda: f"a failover ends; state {self.status()['state']}, "
                                              f"reasons {self.status()['reasons']}")

    def n_flows(self):
        """Flows ever begun; history shows the latest of them only."""
        flows = self.failoverd.flows(self.pair_name)
        return flow_number(flows[0]) if flows else 0

    def apply(self, text, seconds=120):
        """Another policy."""
        self.failoverd.must("policy", "apply", self.session.write("applied.yaml", text), seconds=seconds)

    def qemus(self):
        """The guests' processes."""
        return {domain: self.guests.pid(domain) for domain in self.domains}

    # ---- inside a guest ----

    def panic(self, domain):
        """Its kernel crashes."""
        self.guests[domain].send("echo c > /proc/sysrq-trigger")

    def shell(self, domain, command, seconds=30):
        return self.guests[domain].run(command, seconds)

    def count(self, domain, application):
        """The counter of a `fill` application in a guest, 0 before it counts."""
        words = self.shell(domain, f"cat /run/{application}.count 2>/dev/null").split()
        return int(words[0]) if words else 0

    def app_pid(self, domain, application):
        def written():
            text = self.shell(domain, f"cat /run/{application}.pid 2>/dev/null").strip()
            return int(text) if text.isdigit() else None

        return until(written, 30, f"{application} has written its process id on {domain}")

    def kill_app(self, domain, application, signal="SEGV"):
        self.shell(domain, f"kill -{signal} $(cat /run/{application}.pid)")
