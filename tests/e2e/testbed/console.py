# SPDX-License-Identifier: LGPL-2.1-or-later
"""The command reader on a test guest's first serial port (tests/guest/init)."""
import itertools
import socket
import threading
import time

from .wait import NotInTime


class Console:
    """Reads all the time, because a guest whose console is full comes nearly to a stand; connects again each
    time that the guest is started anew."""

    _numbers = itertools.count(1)

    def __init__(self, path):
        self.path = path
        self.text = ""
        self._changed = threading.Condition()
        self._socket = None
        self._answers = False        # somebody has answered since we are connected
        self._closed = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self):
        self._closed = True
        with self._changed:
            if self._socket:
                self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def connected(self):
        with self._changed:
            return self._socket is not None

    def _read(self):
        while not self._closed:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.connect(self.path)
                with self._changed:
                    self._socket = connection
                while data := connection.recv(65536):
                    with self._changed:
                        self.text += data.decode(errors="replace")
                        self._changed.notify_all()
            except OSError:
                pass
            with self._changed:
                self._socket = None
                self._answers = False
                self._changed.notify_all()
            connection.close()
            time.sleep(0.02)

    def _send(self, line):
        with self._changed:
            if self._socket is None:
                raise OSError("the guest does not run")
            self._socket.sendall(line.encode() + b"\n")

    def _wait_text(self, marker, start, deadline):
        with self._changed:
            while (at := self.text.find(marker, start)) < 0:
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    return None
            return at

    def _ask(self, command, deadline):
        # Marks tell the command's own lines from what the kernel and the agent say meanwhile. They are put together
        # by the guest's shell, so that an echoed command does not look like an answer.
        n = next(self._numbers)
        with self._changed:
            start = len(self.text)
        self._send(f"{{ {command}; }} 2>&1 | sed 's/^/@''{n}@/'; echo '@@''{n}@@'")
        at = self._wait_text(f"@@{n}@@", start, deadline)
        if at is None:
            return None
        mark = f"@{n}@"
        return "".join(line[len(mark):] + "\n" for line in self.text[start:at].splitlines() if line.startswith(mark))

    def wait_text(self, text, times, seconds):
        """Until the console has shown a text so many times since the beginning."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.text.count(text) >= times, seconds):
                raise NotInTime(f"{self.path} did not show {text!r} within {seconds} s")

    def wait_ready(self, seconds=60):
        """Until a shell in the guest answers."""
        deadline = time.monotonic() + seconds
        while not self._answers:
            try:
                self._answers = self._ask(":", min(deadline, time.monotonic() + 1)) is not None
            except OSError:
                time.sleep(0.05)
            if not self._answers and time.monotonic() > deadline:
                raise NotInTime(f"no shell answered on {self.path}; the console's last words: {self.text[-500:]!r}")

    def run(self, command, seconds=30):
        """Runs a command line in the guest and returns what it printed."""
        deadline = time.monotonic() + seconds
        self.wait_ready(seconds)
        text = self._ask(command, deadline)
        if text is None:
            raise NotInTime(f"{command!r} was not done within {seconds} s on {self.path}")
        return text

    def send(self, command):
        """Sends a command line whose end nobody can report (a crash, a reboot)."""
        self.wait_ready()
        self._send(command)
