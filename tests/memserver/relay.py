# SPDX-License-Identifier: LGPL-2.1-or-later
"""A way between two servers that can be cut, blocked and opened again."""
import contextlib
import os
import select
import socket
import threading


class Relay:
    """Listens on a unix socket and passes everything on to another one."""

    def __init__(self, path, target, keep=False):
        self.path, self.target = path, target
        self.open = threading.Event()
        self.open.set()
        self.pairs = []
        self.passed = bytearray() if keep else None    # all that was passed on
        self.budget = None    # bytes that still go to the target; None: all
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.over = os.eventfd(0)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def uri(self, capability):
        return f"nbd+unix:///{capability}?socket={self.path}"

    def accept(self):
        one = self.listener.accept()[0]
        if not self.open.is_set():
            one.close()
            return
        other = socket.socket(socket.AF_UNIX)
        other.connect(self.target)
        self.pairs.append((one, other))

    def from_client(self, one):
        return any(one is client for client, _ in self.pairs)

    def run(self):
        while True:
            to = {a: b for one, other in self.pairs for a, b in ((one, other), (other, one))}
            heard = [one for one in to if self.budget is None or self.budget > 0 or not self.from_client(one)]
            ready = select.select([self.listener, self.over, *heard], [], [], 0.02)[0]
            if self.over in ready:
                return
            if not self.open.is_set():
                self.hang_up()
                continue
            for one in ready:
                if one is self.listener:
                    self.accept()
                    continue
                bounded = self.budget is not None and self.from_client(one)
                try:
                    data = one.recv(min(self.budget, 1 << 20) if bounded else 1 << 20)
                    if data:
                        to[one].sendall(data)
                        if bounded:
                            self.budget -= len(data)
                        if self.passed is not None:
                            self.passed += data
                except OSError:
                    data = b""
                if not data:
                    self.hang_up([pair for pair in self.pairs if one in pair])
                    break

    def hang_up(self, pairs=None):
        for pair in list(self.pairs if pairs is None else pairs):
            self.pairs.remove(pair)
            for one in pair:
                with contextlib.suppress(OSError):
                    one.close()

    def close(self):
        os.eventfd_write(self.over, 1)
        self.thread.join()
        self.hang_up()
        self.listener.close()
        os.close(self.over)
