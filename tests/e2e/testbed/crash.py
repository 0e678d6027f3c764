# SPDX-License-Identifier: LGPL-2.1-or-later
"""A pair whose failoverd kills or stops itself at a given point of a failover (tests/e2e/crash-point.c), and whose
application is heard outside of the guests."""
import os
import signal
import struct
import subprocess

from .guests import BUILD
from .policy import policy
from .stand import Stand
from .wait import until
from .witness import Witness

# Its disk moves with it, so that one owned twice would be seen.
APPLICATION = """\
      - name: db
        kind: hot-standby
        memory: 128MiB
        start: {command: [/usr/bin/fill, run, db, "16"]}
        health: {command: [/usr/bin/fill, check, db], interval: 500ms, timeout: 500ms, failures: 3}
        stop-timeout: 2s
        restart: {budget: 1, within: 15s, expected: 500ms}
        severity:
          - {signal: any, is: major}
          - {exit: any, is: major}      # of one that its agent has adopted no more is known
        resources:
          disks: [vdb]
"""


def options(session, domain):
    return ["--witness", f"--kept-disk=vdb:{session.make_disk('img/db.raw', 16)}"]


class CrashStand(Stand):
    def __init__(self):
        self.witness = None
        super().__init__(policy(applications=(APPLICATION,), flap_within="5s"), "p", ("a", "b"), 192, [("db", 128)],
                         domain_options=options, program=f"{BUILD}/tests/e2e/failoverd-crash", start=False)
        # What tests do to libvirtd is not to be undone behind their back.
        self.session.env["LIBVIRT_AUTOSTART"] = "0"
        self.witness = Witness(self.session, self.domains)
        self.set_clock(0)
        self.start()

    def close(self):
        if self.witness:
            self.witness.close()
        super().close()

    def start(self):
        self.crash_at("")
        self.failoverd.start(self.policy, env={"FAILOVERD_CRASH_AT": self.session.path("crash-at"),
                                               "FAILOVERD_CLOCK": self.session.path("clock")})

    def crash_at(self, point):
        """Where failoverd kills itself in the next failover; "stop " before it: stops itself."""
        self.session.write("crash-at", point)

    def set_clock(self, seconds):
        """failoverd's wall clock is off by so much."""
        path = self.session.path("clock")
        if not os.path.exists(path):
            self.session.write("clock", "\0" * 8)
        with open(path, "r+b") as f:
            f.write(struct.pack("q", seconds))

    # ---- faults ----

    def panic(self, domain=None):
        """An OS failure."""
        super().panic(domain or self.active)

    def kill(self):
        """A failure of the application alone."""
        self.kill_app(self.active, "db", "KILL")

    # ---- what comes of the point ----

    def restarted(self, n_before):
        """Starts failoverd again once it has killed itself; False if it has come through without. There were so many
        flows before."""
        def over():
            if self.failoverd.process.poll() is not None:
                return "killed"
            try:
                through = self.n_flows() > n_before and self.status()["state"] == "armed"
            except (RuntimeError, subprocess.TimeoutExpired):
                return None     # it is ending
            return "through" if through else None

        if until(over, 60, "the point is reached, or the pair is armed again") == "through":
            self.failoverd.kill()   # it might come by later
            self.start()
            return False
        assert self.failoverd.process.returncode == -signal.SIGKILL, self.failoverd.log()
        self.start()
        return True

    def wait_stopped(self, seconds=60):
        """Until failoverd has stopped itself."""
        def stopped():
            with open(f"/proc/{self.failoverd.process.pid}/stat") as f:
                return f.read().rsplit(")", 1)[1].split()[0] == "T"

        until(stopped, seconds, lambda: f"failoverd stops itself; it said\n{self.failoverd.log()}")

    def go_on(self):
        self.failoverd.signal(signal.SIGCONT)
