# SPDX-License-Identifier: LGPL-2.1-or-later
"""failoverd and failoverctl in a session."""
import glob
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import threading

from .guests import BUILD
from .wait import NotInTime, until


class Notify:
    """The other end of sd_notify(3), read all the time, or its sender would block on a full socket."""

    def __init__(self, path):
        self.lines = []
        self._changed = threading.Condition()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(path)
        os.chmod(path, 0o777)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while True:
            try:
                text = self._socket.recv(4096).decode(errors="replace")
            except OSError:
                return
            with self._changed:
                self.lines += text.splitlines()
                self._changed.notify_all()

    def forget(self):
        with self._changed:
            self.lines.clear()

    def wait(self, line, seconds):
        with self._changed:
            return self._changed.wait_for(lambda: line in self.lines, seconds)

    def close(self):
        self._socket.close()


class Control:
    """What failoverctl tells of a failoverd."""

    def __init__(self, session, command):
        self.session = session
        self.command = command      # failoverctl, with what it always needs

    def ctl(self, *arguments, seconds=120):
        """Runs failoverctl; returns the finished process (returncode, stdout, stderr)."""
        return self.session.run(*self.command, *arguments, seconds=seconds, check=False)

    def must(self, *arguments, **options):
        """The same of what has to be done well."""
        done = self.ctl(*arguments, **options)
        assert done.returncode == 0, f"failoverctl {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done

    def ctl_start(self, *arguments, log):
        """The same in the background, its output in a file of the session."""
        return self.session.spawn(*self.command, *arguments, log=log)

    def json(self, *arguments, seconds=30):
        done = self.ctl(*arguments, "--json", seconds=seconds)
        if not done.stdout.strip():
            raise RuntimeError(f"failoverctl {' '.join(arguments)}: exit {done.returncode}: {done.stderr}")
        return json.loads(done.stdout)

    def pair(self, name):
        """Status of one pair."""
        return next(pair for pair in self.json("status")["pairs"] if pair["name"] == name)

    def wait_state(self, pair, states, seconds):
        """Until the pair is in one of `states`; returns its status."""
        states = [states] if isinstance(states, str) else states
        seen = {}

        def there():
            seen.update(self.pair(pair))
            return seen["state"] in states

        until(there, seconds, lambda: f"pair {pair} is {' or '.join(states)}; it is {seen.get('state')}, "
                                      f"reasons {seen.get('reasons')}")
        return seen

    def flows(self, pair):
        """Failovers, switches and returns, the latest first."""
        return self.json("history", pair)["flows"]

    def events(self, pair):
        """Lines of history, the latest first."""
        return self.json("history", pair)["events"]

    def table(self):
        """Rows of the table by their key, sizes in bytes."""
        return {row["key"]: row for row in self.json("table")["rows"]}

    def check_recordings(self):
        """Those of a service are not looked at; Failoverd's are."""


class Failoverd(Control):
    """One failoverd with its policy, state and run-time directory, and failoverctl to talk to it."""

    def __init__(self, session, helper=None, program=None):
        super().__init__(session, (session.path("bin/failoverctl"), "--user"))
        self.process = None
        self.helper = helper    # failoverd-helper, where there is one
        for name in ("bin", "state", "runtime"):
            session.make_dir(name)
        self.program = session.copy(program or f"{BUILD}/daemon/failoverd", "bin/failoverd")
        session.copy(f"{BUILD}/daemon/ctl/failoverctl", "bin/failoverctl")
        self.notify = Notify(session.path("notify"))

    def start(self, policy=None, seconds=30, options=(), env=None):
        """Starts it, with a new policy file where one is given and more of options and environment, and waits until it
        says that it is ready."""
        if policy is not None:
            self.session.write("policy.yaml", policy)
        self.notify.forget()
        self.process = self.session.spawn(
            self.program, "--user", "--policy", self.session.path("policy.yaml"),
            "--state-dir", self.session.path("state"), "--runtime-dir", self.session.path("runtime"),
            *(("--helper", self.helper.socket) if self.helper else ()), *options,
            log="failoverd.log", env={"NOTIFY_SOCKET": self.session.path("notify"), **(env or {})})
        if not self.notify.wait("READY=1", seconds):
            raise NotInTime(f"failoverd was not ready within {seconds} s; exit status {self.process.poll()}\n"
                            + self.log(20))
        until(lambda: self.ctl("status", "--json").returncode in (0, 4), 10, "failoverd is on the bus")

    def log(self, lines=60):
        """The last lines that it has logged."""
        try:
            with open(self.session.path("failoverd.log"), errors="replace") as f:
                return "".join(f.readlines()[-lines:])
        except OSError:
            return ""

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        """SIGKILL, as if it had crashed."""
        self.process.kill()
        self.process.wait(10)

    def stop(self, seconds=10):
        """The orderly end. Returns the exit status."""
        self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise NotInTime(f"failoverd did not end within {seconds} s of SIGTERM") from None

    def recordings(self):
        """Files of what was told and decided: the ring as one, and what was kept of failovers and of decisions not to
        act."""
        ring = sorted(glob.glob(self.session.path("runtime/events/*.events")))
        kept = glob.glob(self.session.path("state/*/*/events"))
        text = b"".join(pathlib.Path(path).read_bytes() for path in ring).decode()
        whole = self.session.write("ring", text) if ring else None
        return ([whole] if whole else []) + sorted(kept)

    def check_recordings(self):
        """What was decided is decided again: the core is pure, and nothing is missing in the recordings."""
        for path in self.recordings():
            done = self.ctl("replay", path)
            if done.returncode != 0:
                shutil.copy(path, f"{BUILD}/differs.events")
                raise AssertionError(f"replay {path} (kept as {BUILD}/differs.events): "
                                     f"exit {done.returncode}: {done.stderr}")

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
        self.notify.close()
