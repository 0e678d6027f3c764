# SPDX-License-Identifier: LGPL-2.1-or-later
"""A client that remembers what was acknowledged to it."""
import random
import threading
import time

import nbd
from server import PAGE, page
from testbed.wait import until


def contents(number, version):
    """Every eighth version is a trim."""
    return bytes(PAGE) if version is None or version % 8 == 0 else page(number, version)


class Shadow:
    """A plain array to which the same random requests go as to a space."""

    def __init__(self, handle, contents, dice):
        self.handle, self.contents, self.dice = handle, bytearray(contents), dice
        self.read_to = 0

    def request(self, lengths, zeroes=False):
        """One, of parts of pages too: what is read is compared, what is written is random, or zeroes at times."""
        length = self.dice.choice(lengths)
        at = self.dice.randrange(len(self.contents) - length)
        if self.dice.randrange(2):
            at -= at % PAGE
        kind = self.dice.randrange(4)
        if kind == 0:
            if self.dice.randrange(2) and self.read_to + length <= len(self.contents):
                at = self.read_to    # as those who read on
            self.read_to = at + length
            assert self.handle.pread(length, at) == self.contents[at:at + length]
        elif kind == 1:
            self.handle.trim(length, at)
            self.contents[at:at + length] = bytes(length)
        else:
            data = bytes(length) if zeroes and kind == 3 else self.dice.randbytes(length)
            self.handle.pwrite(data, at)
            self.contents[at:at + length] = data

    def check(self):
        assert self.handle.pread(len(self.contents), 0) == self.contents

    def held_bytes(self):
        """Pages of zeroes are held nowhere."""
        pages = range(0, len(self.contents), PAGE)
        return sum(any(self.contents[at:at + PAGE]) for at in pages) * PAGE


class Writer(threading.Thread):
    """Writes pages of its own at random, in new versions, and knows which were acknowledged."""

    def __init__(self, server, capability, first, count, seed, before=None):
        """Goes on from what `before`, a writer that has ended, has left."""
        super().__init__()
        self.handle = server.connect(capability)
        self.first, self.count = first, count
        self.random = random.Random(seed)
        self.acknowledged, self.tried = (before.acknowledged, before.tried) if before else ({}, {})
        self.version = before.version if before else 0
        self.error = None
        self.answered = time.monotonic()    # last
        self.over = threading.Event()

    def run(self):
        try:
            while not self.over.is_set():
                self.version = version = self.version + 1
                number = self.first + self.random.randrange(self.count)
                self.tried[number] = version
                if version % 8 == 0:
                    self.handle.trim(PAGE, number * PAGE)
                else:
                    self.handle.pwrite(page(number, version), number * PAGE)
                self.answered = time.monotonic()
                self.acknowledged[number] = version
        except nbd.Error as error:
            self.error = error.errnum

    def finish(self):
        self.over.set()
        self.join()

    def check(self, handle):
        """Each page holds what was acknowledged last, or what was under way then; which one, is remembered."""
        for number, tried in self.tried.items():
            data = handle.pread(PAGE, number * PAGE)
            versions = {self.acknowledged.get(number), tried}
            possible = [version for version in versions if data == contents(number, version)]
            assert possible, (number, self.acknowledged.get(number), tried, data[:40])
            self.acknowledged[number] = self.tried[number] = possible[0]


def answered(writers):
    """When one of them had an answer last."""
    return max(writer.answered for writer in writers)


def write_more(writers, n=50, seconds=30):
    """Waits until each of `writers` has written n times more than until now, or has failed. What is under way is one
    write of each, so that what was stopped before this has been noticed after it."""
    written = [writer.version for writer in writers]
    until(lambda: all(w.version > n + before or w.error for w, before in zip(writers, written)), seconds,
          "writing goes on")


def run_world(world, seed):
    """To its end, or says how far it came."""
    print(f"seed {seed}")
    try:
        world.run()
    finally:
        print(world.log)
        for writer in world.writers:
            writer.over.set()
