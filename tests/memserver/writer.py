# SPDX-License-Identifier: LGPL-2.1-or-later
"""A client that remembers what was acknowledged to it."""
import random
import threading

import nbd
from server import PAGE, page


class Writer(threading.Thread):
    """Writes pages of its own at random, in new versions, and knows which were acknowledged."""

    def __init__(self, server, capability, first, count, seed):
        super().__init__()
        self.handle = server.connect(capability)
        self.first, self.count = first, count
        self.random = random.Random(seed)
        self.acknowledged, self.tried = {}, {}
        self.error = None
        self.over = threading.Event()

    def run(self):
        version = 0
        try:
            while not self.over.is_set():
                version += 1
                number = self.first + self.random.randrange(self.count)
                self.tried[number] = version
                if self.random.randrange(8) == 0:
                    self.handle.trim(PAGE, number * PAGE)
                    self.acknowledged[number] = None
                else:
                    self.handle.pwrite(page(number, version), number * PAGE)
                    self.acknowledged[number] = version
        except nbd.Error as error:
            self.error = error.errnum

    def finish(self):
        self.over.set()
        self.join()

    def check(self, handle):
        """Each page holds what was acknowledged last, or what was under way then."""
        for number, version in self.acknowledged.items():
            data = handle.pread(PAGE, number * PAGE)
            wanted = [bytes(PAGE) if version is None else page(number, version)]
            if self.tried[number] != version:    # not acknowledged: a save or a trim
                wanted += [page(number, self.tried[number]), bytes(PAGE)]
            assert data in wanted, (number, version, data[:40])
