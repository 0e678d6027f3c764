# SPDX-License-Identifier: LGPL-2.1-or-later
"""A space is handed over page by page while its client reads and writes."""
import errno
import os
import random
import threading
import time

import nbd
import pytest
from server import MIB, PAGE, Refused, name, page
from testbed.wait import until
from writer import Shadow, Writer


class Reader(threading.Thread):
    """Reads pages that nobody changes, again and again."""

    def __init__(self, server, capability, count):
        super().__init__()
        self.handle = server.connect(capability)
        self.count, self.rounds, self.wrong = count, 0, []
        self.over = threading.Event()

    def run(self):
        try:
            while not self.over.is_set():
                for number in range(self.count):
                    if self.handle.pread(PAGE, number * PAGE) != page(number):
                        self.wrong.append(number)
                self.rounds += 1
        except nbd.Error as error:
            self.wrong.append(error)

    def finish(self):
        self.over.set()
        self.join()
        assert not self.wrong and self.rounds > 0


def hand_over(source, target, **options):
    return source.mirror(target, call="hand-over", **options)


def test_a_space_moves_while_its_client_reads_and_writes(servers):
    source, target = servers(), servers()
    capability = source.open(size=32 * MIB)
    handle = source.connect(capability)
    for number in range(1024):
        handle.pwrite(page(number), number * PAGE)
    reader = Reader(source, capability, 1024)
    writers = [Writer(source, capability, 1024 + 512 * i, 512, i) for i in range(3)]
    for thread in (reader, *writers):
        thread.start()
    until(lambda: all(len(writer.acknowledged) > 100 for writer in writers), 30, "writing is under way")
    hand_over(source, target, rate_bytes=4 * MIB)
    source.until_mirror("filling", call="hand-over")
    until(lambda: target.space()["held_bytes"] > MIB and source.space()["held_bytes"] > MIB, 30, "pages are on both")
    source.until_mirror("complete", call="hand-over")
    rounds, written = reader.rounds, [len(writer.acknowledged) for writer in writers]
    until(lambda: reader.rounds > rounds, 30, "it goes on through the old server")
    until(lambda: [sum(w.tried.values()) for w in writers] != written, 30, "so does writing")
    assert source.load()["memory_used_bytes"] == 0
    for thread in (*writers, reader):
        thread.finish()
    assert [kind for kind in source.events() if kind.startswith("mov")] == ["moving", "moved"]

    new = target.connect(target.promote(token=2))
    for writer in writers:
        assert writer.error is None
        writer.check(new)
    for number in range(1024):
        assert new.pread(PAGE, number * PAGE) == page(number)
    new.pwrite(page(1, "new"), PAGE)
    with pytest.raises(nbd.Error) as fenced:
        handle.pwrite(page(1, "late"), PAGE)
    assert fenced.value.errnum == errno.EPERM
    source.until_mirror("replaced", call="hand-over")
    with pytest.raises(nbd.Error):
        handle.pread(PAGE, PAGE)
    assert new.pread(PAGE, PAGE) == page(1, "new")
    source.drop()
    assert target.space()["role"] == "primary" and new.pread(PAGE, PAGE) == page(1, "new")


def test_parts_of_pages_and_trims_are_right_on_either_side(servers):
    """The same random requests go to a space that moves and to a plain array."""
    source, target = servers(), servers()
    handle = source.connect(source.open(size=4 * MIB))
    dice = random.Random(3)
    shadow = Shadow(handle, dice.randbytes(2 * MIB) + bytes(2 * MIB), dice)
    handle.pwrite(shadow.contents, 0)
    hand_over(source, target, rate_bytes=MIB)
    source.until_mirror("filling", "complete", call="hand-over")
    turns = 0
    while source.space()["hand_over"] != "complete" or turns < 1500:
        turns += 1
        shadow.request((1, 100, PAGE, PAGE + 1, 5 * PAGE, 20000), zeroes=True)
    shadow.check()
    new = target.connect(target.promote(token=2))
    assert new.pread(4 * MIB, 0) == shadow.contents
    assert target.space()["held_bytes"] == shadow.held_bytes()


def test_a_target_that_stalls_is_waited_for_and_the_move_goes_on(servers):
    source, target = servers(), servers()
    capability = source.open(size=16 * MIB)
    handle = source.connect(capability)
    for number in range(2048):
        handle.pwrite(page(number), number * PAGE)
    hand_over(source, target, rate_bytes=2 * MIB, deadline=0.3)
    until(lambda: target.space()["held_bytes"] > MIB and source.space()["held_bytes"] < 7 * MIB, 30,
          "pages have gone from one to the other")
    target.stop()
    until(lambda: source.space()["hand_over"] == "lost", 30, lambda: repr(source.space()))
    answers = {"here": 0, "away": 0}
    for number in range(0, 2048, 100):
        try:
            assert handle.pread(PAGE, number * PAGE) == page(number)
            answers["here"] += 1
        except nbd.Error as error:
            assert error.errnum == errno.EIO
            answers["away"] += 1
    assert answers["here"] and answers["away"]
    target.go_on()
    source.until_mirror("complete", call="hand-over")
    for number in range(2048):
        assert handle.pread(PAGE, number * PAGE) == page(number)


def test_a_target_that_is_full_holds_the_move_up_and_loses_nothing(servers):
    source, target = servers("64MiB"), servers("16MiB")
    capability = source.open(size=32 * MIB)
    handle = source.connect(capability)
    data = os.urandom(24 * MIB)
    for at in range(0, len(data), MIB):
        handle.pwrite(data[at:at + MIB], at)
    hand_over(source, target)
    until(lambda: "No space" in source.space().get("text", ""), 30, lambda: repr(source.space()))
    assert handle.pread(24 * MIB, 0) == data
    # A page may be on both: the one here counts.
    assert 24 * MIB <= source.space()["held_bytes"] + target.space()["held_bytes"] <= 24 * MIB + 64 * PAGE
    handle.trim(12 * MIB, 0)
    source.until_mirror("complete", call="hand-over")
    assert handle.pread(12 * MIB, 12 * MIB) == data[12 * MIB:]


def test_a_mirrored_space_keeps_its_mirror_while_it_moves(servers):
    """The server that it moves to is killed half-way; the mirror has everything."""
    source, target, keeper = servers(), servers(), servers()
    capability = source.open(size=16 * MIB)
    source.mirror(keeper)
    source.until_mirror("complete")
    handle = source.connect(capability)
    for number in range(2048):
        handle.pwrite(page(number), number * PAGE)
    hand_over(source, target, rate_bytes=4 * MIB)
    until(lambda: target.space()["held_bytes"] > MIB, 30, "pages are on both")
    for number in range(0, 4096, 3):
        handle.pwrite(page(number, 1), number * PAGE)
    answered = time.monotonic()
    target.kill()
    source.kill()
    new = keeper.connect(keeper.promote(token=2, answered=answered))
    for number in range(4096):
        wanted = page(number, 1) if number % 3 == 0 else page(number) if number < 2048 else bytes(PAGE)
        assert new.pread(PAGE, number * PAGE) == wanted


def test_what_cannot_be_handed_over(servers):
    source, target = servers(), servers()
    handle = source.connect(source.open())
    handle.pwrite(os.urandom(8 * MIB), 0)
    source.mirror(target, rate_bytes=MIB)
    source.until_mirror("filling")
    with pytest.raises(Refused) as filling:
        source.ask("hand-over", uri=target.uri("00" * 32), **name())
    assert filling.value.errno == errno.EBUSY
    source.ask("unmirror", **name())
    target.drop()
    hand_over(source, target, rate_bytes=MIB)
    for call, code in (("hand-over", errno.EALREADY), ("mirror", errno.EBUSY)):
        with pytest.raises(Refused) as moving:
            source.ask(call, uri=target.uri("00" * 32), **name())
        assert moving.value.errno == code
    with pytest.raises(Refused) as early:
        target.promote(token=2)
    assert early.value.errno == errno.ESTALE
