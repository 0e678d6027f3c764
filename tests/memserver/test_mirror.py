# SPDX-License-Identifier: LGPL-2.1-or-later
"""Mirrors: what was acknowledged is on the mirror, or somebody has said so in time."""
import errno
import os
import threading
import time

import nbd
import pytest
from relay import Relay
from server import MIB, PAGE, SECONDS, Refused, name, page
from testbed.wait import until
from writer import Writer, answered, write_more

DEADLINE = 1.0     # where a mirror is to be gone on without
PATIENCE = 10.0    # elsewhere


def pair(servers, size=16 * MIB, memory="64MiB", **options):
    """A primary with a space, its capability, and a server that keeps the mirror."""
    primary, keeper = servers(memory), servers(memory)
    capability = primary.open(size=size)
    primary.mirror(keeper, **{"deadline": PATIENCE, **options})
    return primary, capability, keeper


def mirrored(servers, **options):
    primary, capability, keeper = pair(servers, **options)
    primary.until_mirror("complete")
    return primary, capability, keeper


def test_what_was_there_is_filled_in_while_its_client_goes_on(servers):
    primary, keeper = servers(), servers()
    capability = primary.open(size=32 * MIB)
    handle = primary.connect(capability)
    for number in range(0, 4096, 2):
        handle.pwrite(page(number), number * PAGE)
    writers = [Writer(primary, capability, 4096 + 256 * i, 256, i) for i in range(3)]
    for writer in writers:
        writer.start()
    primary.mirror(keeper, rate_bytes=8 * MIB)
    primary.until_mirror("complete")
    write_more(writers)
    for writer in writers:
        writer.finish()
        assert writer.error is None
    assert keeper.space()["held_bytes"] == primary.space()["held_bytes"]
    primary.kill()
    new = keeper.connect(keeper.promote(token=2, answered=answered(writers)))
    for number in range(4096):
        assert new.pread(PAGE, number * PAGE) == (bytes(PAGE) if number % 2 else page(number))
    for writer in writers:
        writer.check(new)


@pytest.mark.parametrize("seed", range(5))
def test_a_primary_killed_in_the_middle_has_left_every_acknowledged_page(servers, seed):
    primary, capability, keeper = mirrored(servers)
    writers = [Writer(primary, capability, 512 * i, 512, seed * 10 + i) for i in range(4)]
    for writer in writers:
        writer.start()
    until(lambda: all(len(writer.acknowledged) > 50 + 20 * seed for writer in writers), 30, "writing is under way")
    primary.kill()
    for writer in writers:
        writer.join()
        assert writer.error
    new = keeper.connect(keeper.promote(token=2, answered=answered(writers)))
    for writer in writers:
        writer.check(new)
    new.pwrite(page(1, "new"), PAGE)
    assert new.pread(PAGE, PAGE) == page(1, "new")


def test_the_mirror_has_a_mirror_in_turn(servers):
    primary, capability, keeper = mirrored(servers)
    handle = primary.connect(capability)
    handle.pwrite(page(7), 7 * PAGE)
    primary.kill()
    new = keeper.connect(keeper.promote(token=2, lost_usec=1))
    third = servers()
    keeper.mirror(third, token=2)
    keeper.until_mirror("complete")
    new.pwrite(page(8), 8 * PAGE)
    last_answer = time.monotonic()
    keeper.kill()
    last = third.connect(third.promote(token=3, answered=last_answer))
    assert last.pread(PAGE, 7 * PAGE) == page(7) and last.pread(PAGE, 8 * PAGE) == page(8)


def test_a_stalled_mirror_is_gone_on_without_said_so_and_filled_again(servers):
    primary, capability, keeper = mirrored(servers, deadline=DEADLINE)
    handle = primary.connect(capability)
    for number in range(64):
        handle.pwrite(page(number), number * PAGE)
    keeper.stop()
    for number in range(64):
        handle.pwrite(page(number, 1), number * PAGE)
        assert handle.pread(PAGE, number * PAGE) == page(number, 1)
    last_answer = time.monotonic()
    told = primary.space()
    assert told["mirror"] == "connecting" and told["text"]
    keeper.go_on()
    primary.until_mirror("complete")
    assert "alone" in primary.events()
    primary.kill()
    new = keeper.connect(keeper.promote(token=2, answered=last_answer))
    for number in range(64):
        assert new.pread(PAGE, number * PAGE) == page(number, 1)


def test_a_mirror_that_was_gone_on_without_does_not_stand_in(servers):
    """It was stopped when the primary went on, wrote, and died: it cannot have seen that, and still refuses."""
    primary, capability, keeper = mirrored(servers, deadline=DEADLINE)
    handle = primary.connect(capability)
    handle.pwrite(page(1, "old"), PAGE)
    keeper.stop()
    handle.pwrite(page(1, "new"), PAGE)
    primary.kill()
    keeper.go_on()
    with pytest.raises(Refused) as refused:
        keeper.promote(token=2, lost_usec=0)
    assert refused.value.errno == errno.ESTALE and "without it" in refused.value.text
    assert keeper.space()["role"] == "mirror"
    new = keeper.connect(keeper.promote(token=2, force=True))
    assert new.pread(PAGE, PAGE) in (page(1, "old"), page(1, "new"))    # the save lay in its socket


def test_a_mirror_that_is_being_filled_does_not_stand_in(servers):
    primary, keeper = servers(), servers()
    handle = primary.connect(primary.open())
    handle.pwrite(os.urandom(8 * MIB), 0)
    primary.mirror(keeper, rate_bytes=MIB)
    primary.until_mirror("filling")
    until(lambda: keeper.space()["held_bytes"] > 0, 30, "filling is under way")
    with pytest.raises(Refused) as refused:
        keeper.promote(token=2, lost_usec=0)
    assert "missing" in refused.value.text and keeper.space()["copy"] == "filling"


def test_filling_keeps_its_rate_and_is_told(servers):
    primary, keeper = servers(), servers()
    handle = primary.connect(primary.open())
    handle.pwrite(os.urandom(4 * MIB), 0)
    began = time.monotonic()
    primary.mirror(keeper, rate_bytes=4 * MIB)
    primary.until_mirror("complete")
    assert time.monotonic() - began > 0.9
    assert primary.space()["filled_bytes"] == 4 * MIB


def test_a_save_waits_for_the_mirror_and_no_longer_than_the_deadline(servers):
    primary, capability, keeper = mirrored(servers, deadline=2.0)
    handle = primary.connect(capability)
    keeper.stop()
    handle.pwrite(page(1), PAGE)
    assert primary.space()["mirror"] == "connecting"    # not before it was given up
    handle.pwrite(page(2), PAGE)
    assert primary.space()["mirror"] == "connecting"
    keeper.go_on()


def test_saves_that_wait_for_the_mirror_together_are_all_there(servers):
    primary, capability, keeper = mirrored(servers, deadline=SECONDS)
    handles = [primary.connect(capability) for _ in range(12)]
    keeper.stop()
    threads = [threading.Thread(target=handle.pwrite, args=(page(i) * (1 + i % 3), i * 3 * PAGE))
               for i, handle in enumerate(handles)]
    for thread in threads:
        thread.start()
    until(lambda: primary.space()["held_bytes"] == 24 * PAGE, SECONDS, "all are here, and wait")
    keeper.go_on()
    for thread in threads:
        thread.join(SECONDS)
    assert primary.space()["mirror"] == "complete" and primary.events().count("mirror-lost") == 0
    primary.kill()
    new = keeper.connect(keeper.promote(token=2, lost_usec=1))
    for i in range(12):
        assert new.pread(PAGE * (1 + i % 3), i * 3 * PAGE) == page(i) * (1 + i % 3)


def test_what_is_no_bundle_of_saves_spoils_the_mirror(servers):
    for bundle in (bytes(64), b"failover-saves1\0" + b"\xff" * 64, b"failover-saves1\0" + bytes(PAGE)):
        primary, keeper = servers(), servers()
        primary.open()
        capability = primary.mirror(keeper, deadline=PATIENCE)
        primary.until_mirror("complete")
        with pytest.raises(nbd.Error) as refused:
            keeper.connect(capability).pwrite(bundle, 2 * (16 * MIB + PAGE))
        assert refused.value.errnum == errno.EINVAL
        with pytest.raises(Refused):
            keeper.promote(token=2, lost_usec=1)


def test_a_primary_that_wakes_after_its_mirror_took_over_is_fenced(servers):
    primary, capability, keeper = mirrored(servers)
    writers = [Writer(primary, capability, 512 * i, 512, i) for i in range(3)]
    reader = primary.connect(capability)
    for writer in writers:
        writer.start()
    until(lambda: all(len(writer.acknowledged) > 50 for writer in writers), 30, "writing is under way")
    primary.stop()
    new = keeper.connect(keeper.promote(token=2, lost_usec=1))
    size = 3 * 512 * PAGE
    new.trim(size, 0)
    primary.go_on()
    for writer in writers:
        writer.join()
        assert writer.error == errno.EPERM
    primary.until_mirror("replaced")
    with pytest.raises(nbd.Error) as refused:
        reader.pread(PAGE, 0)
    assert refused.value.errnum == errno.EPERM
    assert new.pread(size, 0) == bytes(size)
    assert "replaced" in primary.events()


def test_a_fenced_clients_late_save_reaches_neither_server(servers):
    """It waits at the primary for a mirror that is stalled when the space is granted to another."""
    primary, capability, keeper = mirrored(servers, deadline=3.0)
    old = Writer(primary, capability, 0, 64, 1)
    old.start()
    until(lambda: len(old.acknowledged) > 10, 30, "writing is under way")
    keeper.stop()
    new = primary.connect(primary.grant(token=2))
    before = new.pread(64 * PAGE, 0)
    keeper.go_on()
    old.join()
    assert old.error == errno.EPERM
    primary.until_mirror("complete")
    assert new.pread(64 * PAGE, 0) == before
    last_answer = time.monotonic()
    primary.kill()
    assert keeper.connect(keeper.promote(token=3, answered=last_answer)).pread(64 * PAGE, 0) == before


def test_pages_that_are_trimmed_or_zeroed_leave_the_mirror_too(servers):
    primary, capability, keeper = mirrored(servers)
    handle = primary.connect(capability)
    handle.pwrite(os.urandom(4 * MIB), 0)
    assert keeper.space()["held_bytes"] == 4 * MIB
    handle.trim(MIB, 0)
    handle.zero(MIB, MIB)
    handle.pwrite(bytes(MIB), 2 * MIB)
    assert keeper.space()["held_bytes"] == MIB == primary.space()["held_bytes"]


def test_a_full_mirror_is_gone_on_without_at_once(servers):
    """It has said itself that it lacks a page, so no save waits for the deadline."""
    primary, keeper = servers("64MiB"), servers("16MiB")
    capability = primary.open(size=32 * MIB)
    primary.mirror(keeper, deadline=20 * SECONDS)
    primary.until_mirror("complete")
    handle = primary.connect(capability)
    writer = threading.Thread(target=lambda: [handle.pwrite(os.urandom(MIB), at) for at in range(0, 32 * MIB, MIB)],
                              daemon=True)
    writer.start()
    until(lambda: not writer.is_alive(), SECONDS, "all is saved")
    told = primary.space()
    assert told["held_bytes"] == 32 * MIB and told["mirror"] in ("connecting", "filling")
    tried, began = primary.events().count("filling"), time.monotonic()
    until(lambda: primary.events().count("filling") >= tried + 3, 3 * SECONDS, "it is tried again")
    assert time.monotonic() - began > 0.55, "ever more seldom: after 0.1 s, 0.2 s, 0.4 s, and so on"
    primary.kill()
    with pytest.raises(Refused):
        keeper.promote(token=2, lost_usec=0)


def test_a_full_primary_refuses_and_both_hold_the_same(servers):
    primary, keeper = servers("16MiB"), servers("64MiB")
    capability = primary.open(size=32 * MIB)
    primary.mirror(keeper, deadline=PATIENCE)
    primary.until_mirror("complete")
    handle = primary.connect(capability)
    for at in range(0, 15 * MIB, MIB):
        handle.pwrite(os.urandom(MIB), at)
    with pytest.raises(nbd.Error) as full:
        handle.pwrite(os.urandom(4 * MIB), 14 * MIB + 100)
    assert full.value.errnum == errno.ENOSPC
    before = handle.pread(20 * MIB, 0)
    assert primary.space()["mirror"] == "complete"
    primary.kill()
    assert keeper.connect(keeper.promote(token=2, lost_usec=1)).pread(20 * MIB, 0) == before


def test_a_broken_connection_is_replaced_without_filling_anew(servers):
    primary, keeper = servers(), servers()
    capability = primary.open()
    relay = Relay(primary.path("relay"), keeper.socket)
    try:
        primary.mirror(keeper, uri=relay.uri, deadline=5.0)
        primary.until_mirror("complete")
        writers = [Writer(primary, capability, 512 * i, 512, i) for i in range(3)]
        for writer in writers:
            writer.start()
        for turn in range(1, 6):
            written = [len(writer.acknowledged) for writer in writers]
            until(lambda: all(len(w.acknowledged) >= min(n + 20, 500) for w, n in zip(writers, written)), 30, "more")
            after = primary.load()["latest_event"]
            relay.open.clear()
            until(lambda: not relay.pairs, 30, "it is cut")
            relay.open.set()
            until(lambda: "mirrored" in primary.events(after), 30, lambda: repr(primary.events(after)))
            assert set(primary.events(after)) == {"mirror-lost", "mirrored"}
        for writer in writers:
            writer.finish()
            assert writer.error is None
        assert keeper.space()["held_bytes"] == primary.space()["held_bytes"]
        primary.kill()
        new = keeper.connect(keeper.promote(token=2, answered=answered(writers)))
        for writer in writers:
            writer.check(new)
    finally:
        relay.close()


def test_a_mirror_cut_off_for_good_does_not_stand_in_for_what_came_later(servers):
    primary, keeper = servers(), servers()
    capability = primary.open()
    relay = Relay(primary.path("relay"), keeper.socket)
    try:
        primary.mirror(keeper, uri=relay.uri, deadline=DEADLINE)
        primary.until_mirror("complete")
        handle = primary.connect(capability)
        handle.pwrite(page(1, "old"), PAGE)
        relay.open.clear()
        handle.pwrite(page(1, "new"), PAGE)    # after the deadline, alone
        primary.kill()
        with pytest.raises(Refused) as refused:
            keeper.promote(token=2, lost_usec=0)
        assert refused.value.errno == errno.ESTALE
    finally:
        relay.close()


def test_a_mirror_may_stand_in_where_its_client_had_no_answer_since(servers):
    """The client has waited longer than the deadline before it asked: what counts is its last answer."""
    primary, capability, keeper = mirrored(servers, deadline=1.0)
    handle = primary.connect(capability)
    handle.pwrite(page(1), PAGE)
    last_answer = time.monotonic()
    primary.kill()
    until(lambda: keeper.space()["silent_usec"] > 2 * 10**6, 30, "it was silent for long")
    with pytest.raises(Refused):
        keeper.promote(token=2)
    new = keeper.connect(keeper.promote(token=2, answered=last_answer))
    assert new.pread(PAGE, PAGE) == page(1)


def test_a_mirror_that_was_given_up_knows_it(servers):
    primary, capability, keeper = mirrored(servers)
    primary.connect(capability).pwrite(page(1), PAGE)
    primary.ask("unmirror", **name())
    assert primary.space()["mirror"] == "none" and keeper.space()["copy"] == "gone"
    with pytest.raises(Refused) as refused:
        keeper.promote(token=2, lost_usec=0)
    assert "given it up" in refused.value.text
    with pytest.raises(Refused):
        primary.ask("unmirror", **name())


def test_the_mirror_of_another_space_is_not_written_to(servers):
    primary, keeper = servers(), servers()
    primary.open(), primary.open(owner="vm2")
    mine = keeper.open(role="mirror")
    primary.ask("mirror", uri=keeper.uri(mine), **name(owner="vm2"))
    until(lambda: primary.space(owner="vm2").get("text"), 30, "it is refused")
    assert "another space" in primary.space(owner="vm2")["text"] and keeper.space()["copy"] == "none"
    primary.ask("unmirror", **name(owner="vm2"))
    plain = keeper.open(owner="vm2")
    primary.ask("mirror", uri=keeper.uri(plain), **name(owner="vm2"))
    until(lambda: primary.space(owner="vm2").get("text"), 30, "it is refused")
    assert "no mirror" in primary.space(owner="vm2")["text"]
    assert mine not in primary.log() + keeper.log() and plain not in primary.log() + keeper.log()


def test_a_uri_that_leads_nowhere_is_said_without_its_capability(servers):
    primary, keeper = servers(), servers()
    primary.open()
    primary.ask("mirror", uri=keeper.uri("ab" * 32), **name())
    until(lambda: primary.space().get("text"), 30, "it is refused")
    assert "ab" * 32 not in repr(primary.space()) + primary.log()
    primary.ask("unmirror", **name())
    for uri in ("nbd://127.0.0.1/x", "file:///etc/passwd", "nbd+ssh://host/x"):
        primary.ask("mirror", uri=uri, **name())
        until(lambda: primary.space().get("text"), 30, "it is refused")
        assert "URI" in primary.space()["text"]
        primary.ask("unmirror", **name())


def test_who_may_have_a_mirror(servers):
    primary, capability, keeper = mirrored(servers)
    with pytest.raises(Refused) as second:
        primary.ask("mirror", uri=keeper.uri("00" * 32), **name())
    assert second.value.errno == errno.EEXIST
    with pytest.raises(Refused) as mirror:
        keeper.ask("mirror", uri=primary.uri("00" * 32), **name())
    assert mirror.value.errno == errno.EPERM
    with pytest.raises(Refused) as promoted:
        primary.promote(token=2, force=True)
    assert promoted.value.errno == errno.EALREADY
    with pytest.raises(Refused) as stale:
        keeper.promote(token=1, force=True)
    assert stale.value.errno == errno.ESTALE


def test_a_relaxed_mirror_gets_saves_later_and_all_of_them_by_a_flush(servers):
    primary, capability, keeper = mirrored(servers, relaxed=True, deadline=SECONDS)
    handle = primary.connect(capability)
    keeper.stop()
    for number in range(16):
        handle.pwrite(page(number), number * PAGE)
    assert primary.space()["mirror"] == "complete"    # nobody has waited until it was given up
    keeper.go_on()
    handle.flush()
    assert primary.space()["mirror"] == "complete"
    primary.kill()
    new = keeper.connect(keeper.promote(token=2, lost_usec=1))
    for number in range(16):
        assert new.pread(PAGE, number * PAGE) == page(number)


def test_a_relaxed_mirror_that_stalls_is_filled_anew(servers):
    primary, capability, keeper = mirrored(servers, relaxed=True, deadline=DEADLINE)
    writers = [Writer(primary, capability, 512 * i, 512, i) for i in range(3)]
    for writer in writers:
        writer.start()
    keeper.stop()
    until(lambda: primary.space()["mirror"] == "connecting", 30, "it is given up")
    keeper.go_on()
    primary.until_mirror("complete")
    for writer in writers:
        writer.finish()
        assert writer.error is None
    writers[0].handle.flush()
    last_answer = time.monotonic()
    primary.kill()
    new = keeper.connect(keeper.promote(token=2, answered=last_answer))
    for writer in writers:
        writer.check(new)


def test_a_space_is_dropped_with_its_mirror_stalled(servers):
    primary, capability, keeper = mirrored(servers, deadline=DEADLINE)
    primary.connect(capability).pwrite(page(1), PAGE)
    keeper.stop()
    primary.drop()
    assert primary.ask("spaces") == [] and primary.load()["memory_used_bytes"] == 0
    keeper.go_on()
