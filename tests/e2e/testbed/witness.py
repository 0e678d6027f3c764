# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who runs, as seen from outside: `fill` says so on a port of its guest, all the time."""
import selectors
import socket
import threading
import time
from dataclasses import dataclass, field

RETRY_SECONDS = 0.02


@dataclass
class Run:
    """One life of an application, from its start to its end."""
    application: str
    domain: str
    number: str
    first: int      # rounds in which it was heard first, and last
    last: int
    began: float = field(default_factory=time.monotonic)


class Witness:
    """Listens to the ports `org.failover1.witness` of all guests. What is heard is ordered by rounds: what comes in one
    look at all ports is at the same time, so that one that fell silent before another began is always heard before."""

    def __init__(self, session, domains):
        self._paths = {domain: session.path(f"s/{domain}.witness") for domain in domains}
        self._selector = selectors.DefaultSelector()
        self._half = {}         # of a line, by domain
        self._connected = set()
        self._round = 0
        self._runs = {}         # by (application, domain, number)
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self):
        self._closed.set()
        self._thread.join()
        self._selector.close()

    def _connect(self):
        for domain, path in self._paths.items():
            if domain in self._connected:
                continue
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.connect(path)
            except OSError:
                connection.close()
                continue
            connection.setblocking(False)
            self._half[domain] = b""
            self._connected.add(domain)
            self._selector.register(connection, selectors.EVENT_READ, domain)

    def _heard(self, domain, data):
        *lines, self._half[domain] = (self._half[domain] + data).split(b"\n")
        for line in lines:
            words = line.decode(errors="replace").split()
            if len(words) == 3:
                key = (words[0], domain, words[1])
                if key not in self._runs:
                    self._runs[key] = Run(*key, self._round, self._round)
                self._runs[key].last = self._round

    def _listen(self):
        while not self._closed.is_set():
            self._connect()
            ready = self._selector.select(RETRY_SECONDS)
            with self._lock:
                self._round += 1
                for key, _ in ready:
                    try:
                        data = key.fileobj.recv(65536)
                    except OSError:
                        data = b""
                    if data:
                        self._heard(key.data, data)
                    else:
                        self._selector.unregister(key.fileobj)
                        key.fileobj.close()
                        self._connected.discard(key.data)

    def runs(self, application):
        """Runs of an application so far, in the order of their beginning."""
        with self._lock:
            return sorted((run for run in self._runs.values() if run.application == application),
                          key=lambda run: run.first)

    def two_at_once(self, application):
        """Runs of an application that were heard while another one was: there must be none."""
        runs = self.runs(application)
        return [(a, b) for i, a in enumerate(runs) for b in runs[i + 1:] if b.first < a.last]
