# SPDX-License-Identifier: LGPL-2.1-or-later
"""Epochs: what a writer stages becomes the contents as a whole, at the holder and at its mirror, or not at all."""
import errno
import os
import random
import threading

import nbd
import pytest
from relay import Relay
from server import MIB, PAGE, Refused, name, page
from testbed.wait import until

PATIENCE = 60.0    # no sign of life comes in between
PAGES = [3 * i for i in range(8)]    # apart, so that each is sent by itself
SENT = PAGE + 28                     # a page as it travels


def writer(server, capability):
    return server.connect(capability + ".epoch")


def stage(handle, version, pages=tuple(PAGES)):
    for number in pages:
        handle.pwrite(page(number, version), number * PAGE)


def version_of(handle):
    """Which version all pages have; of none it says so."""
    found = {next((v for v in ("old", "new") if handle.pread(PAGE, n * PAGE) == page(n, v)), "neither") for n in PAGES}
    return found.pop() if len(found) == 1 else f"mixed: {found}"


def old(servers, **options):
    """A server with a space, its capability, and the first epoch."""
    server = servers()
    capability = server.open(**options)
    handle = writer(server, capability)
    stage(handle, "old")
    handle.flush()
    return server, capability, handle


def test_nothing_is_seen_before_the_flush_and_everything_after_it(servers):
    server, capability, handle = old(servers)
    reader = server.connect(capability)
    stage(handle, "new")
    handle.trim(MIB, MIB)
    assert version_of(reader) == version_of(handle) == "old"
    told = server.space()
    assert told["epochs"] == 1 and told["staged_bytes"] == len(PAGES) * PAGE + MIB and "process" in told["writer"]
    handle.flush()
    assert version_of(reader) == version_of(handle) == "new"
    told = server.space()
    assert told["epochs"] == 2 and "staged_bytes" not in told and told["held_bytes"] == len(PAGES) * PAGE
    assert told["epoch_age_usec"] > 0


def test_a_save_beside_a_part_of_its_page_that_is_staged_is_not_undone(servers):
    server, capability, handle = old(servers)
    plain = server.connect(capability)
    handle.pwrite(b"E" * 512, 0)
    plain.pwrite(b"B" * 512, 2048)
    handle.zero(100, 1024)
    assert plain.pread(512, 2048) == b"B" * 512
    handle.flush()
    wanted = bytearray(page(0, "old"))
    wanted[:512], wanted[1024:1124], wanted[2048:2560] = b"E" * 512, bytes(100), b"B" * 512
    assert plain.pread(PAGE, 0) == wanted
    handle.pwrite(b"F" * 10, 0)    # a part, and then all of it
    handle.pwrite(page(0, "new"), 0)
    plain.pwrite(b"C" * 512, 2048)
    handle.flush()
    assert plain.pread(PAGE, 0) == page(0, "new")
    assert server.load()["memory_used_bytes"] == server.space()["held_bytes"] == len(PAGES) * PAGE


def test_no_reader_sees_a_part_of_an_epoch(servers):
    server = servers()
    size = 8 * MIB
    capability = server.open(size=size)
    handle, seen, over = writer(server, capability), [], threading.Event()

    def read():
        reader = server.connect(capability)
        while not over.is_set():
            data = reader.pread(size, 0)
            seen.append(len({data[at] for at in range(0, size, PAGE)}))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for turn in range(60):
        for at in range(0, size, MIB):
            handle.pwrite(bytes([turn + 1]) * MIB, at)
        handle.flush()
    until(lambda: seen, 30, "something was read")
    over.set()
    for reader in readers:
        reader.join()
    assert set(seen) == {1}


def test_a_writer_that_ends_at_any_page_of_its_epoch_leaves_nothing(servers):
    server, capability, handle = old(servers)
    reader = server.connect(capability)
    for count in range(len(PAGES) + 1):
        stage(handle, "new", PAGES[:count])
        handle.shutdown()
        until(lambda: "writer" not in server.space(), 60, "the writer is gone")
        assert version_of(reader) == "old" and server.space()["held_bytes"] == len(PAGES) * PAGE
        handle = writer(server, capability)
    handle.flush()
    assert version_of(reader) == "old" and server.space()["epochs"] == 1


def test_a_second_writer_is_refused_and_the_first_is_named(servers):
    server, capability, handle = old(servers)
    with pytest.raises(nbd.Error):
        writer(server, capability)
    holder = server.space()["writer"]
    assert f"{holder} writes epochs already" in server.log()
    server.connect(capability).pread(PAGE, 0)
    handle.shutdown()
    until(lambda: "writer" not in server.space(), 60, "the writer is gone")
    writer(server, capability).flush()


def test_a_grant_forgets_what_is_staged_and_refuses_what_comes_late(servers):
    server, capability, handle = old(servers)
    stage(handle, "new")
    granted = server.grant(token=2)
    assert not {"staged_bytes", "writer"} & set(server.space())
    late = writer(server, granted)
    for call in (lambda: handle.flush(), lambda: handle.pwrite(page(1), 0), lambda: handle.trim(PAGE, 0)):
        with pytest.raises(nbd.Error) as refused:
            call()
        assert refused.value.errnum == errno.EPERM
    handle.shutdown()    # the old writer's end is none of the new one's
    stage(late, "new")
    assert version_of(late) == "old"
    late.flush()
    assert version_of(late) == "new"


def test_what_is_staged_counts_and_a_full_epoch_changes_nothing(servers):
    server, capability, handle = old(servers, quota_bytes=12 * PAGE)
    with pytest.raises(nbd.Error) as full:
        stage(handle, "new")
    assert full.value.errnum == errno.ENOSPC and version_of(handle) == "old"
    handle.shutdown()
    until(lambda: server.space()["held_bytes"] == len(PAGES) * PAGE, 60, "what was staged is given back")
    handle = writer(server, capability)
    stage(handle, "new", PAGES[:4])
    handle.flush()
    assert server.space()["held_bytes"] == len(PAGES) * PAGE
    assert [handle.pread(PAGE, n * PAGE) == page(n, "new") for n in PAGES] == [True] * 4 + [False] * 4


@pytest.mark.parametrize("memory", ["64MiB", "spill"])
def test_random_epochs_are_what_a_plain_file_would_be(servers, memory):
    """Parts of pages, zeroes and trims; also where most pages lie in a spill file."""
    size, seed = 2 * MIB, random.randrange(1 << 32)
    chance = random.Random(seed)
    print(f"seed {seed}")
    server = servers("16MiB", "spill=spill", "spill-size=32MiB") if memory == "spill" else servers(memory)
    if memory == "spill":
        server.connect(server.open(space="other")).pwrite(chance.randbytes(16 * MIB), 0)
    handle = writer(server, server.open(size=size))
    there, staged = bytearray(size), bytearray(size)
    for turn in range(40):
        for _ in range(chance.randrange(12)):
            at = chance.randrange(size)
            length = chance.choice([1, 100, PAGE, 20000, 300000])
            length = min(length, size - at)
            if chance.random() < 0.3:
                handle.zero(length, at)
                staged[at:at + length] = bytes(length)
            else:
                data = chance.randbytes(length)
                handle.pwrite(data, at)
                staged[at:at + length] = data
        assert handle.pread(size, 0) == there
        if turn % 3:
            handle.flush()
            there[:] = staged
            assert handle.pread(size, 0) == there
        held = server.load()["memory_used_bytes"] + server.load()["spill_used_bytes"]
        assert held == sum(space["held_bytes"] for space in server.ask("spaces"))


def mirrored(servers, deadline=PATIENCE):
    """With the first epoch, over a relay, and the two servers."""
    primary, keeper = servers(), servers()
    capability = primary.open()
    relay = Relay(primary.path("relay"), keeper.socket)
    primary.mirror(keeper, uri=relay.uri, deadline=deadline)
    primary.until_mirror("complete")
    handle = writer(primary, capability)
    stage(handle, "old")
    handle.flush()
    return primary, keeper, capability, handle, relay


def flushing(handle):
    """A thread that flushes, and where it puts what became of that."""
    result = []

    def flush():
        try:
            handle.flush()
            result.append(0)
        except nbd.Error as error:
            result.append(error.errnum or errno.ENOTCONN)

    thread = threading.Thread(target=flush)
    thread.start()
    return thread, result


def test_a_primary_killed_at_any_page_of_a_flush_leaves_a_whole_epoch(servers):
    outcomes = []
    for count in range(len(PAGES) + 3):    # the pages, what begins the epoch, what ends it
        primary, keeper, _, handle, relay = mirrored(servers)
        stage(handle, "new")
        relay.budget = count * SENT - (1000 if count % 2 else 0)
        thread, result = flushing(handle)
        until(lambda: relay.budget <= 0 or result, 60, "so much has reached the mirror")
        if count == len(PAGES) + 2:
            until(lambda: keeper.space()["epochs"] == 2 or result, 60, "the last page has reached the mirror")
        primary.kill()
        thread.join()
        relay.close()
        new = keeper.connect(keeper.promote(token=2, lost_usec=1))
        outcomes.append(version_of(new))
        assert outcomes[-1] in ("old", "new")
        again = writer(keeper, keeper.grant(token=3))
        stage(again, "new")
        again.flush()
        assert version_of(again) == "new"
        keeper.kill()
    assert outcomes[0] == "old" and outcomes == sorted(outcomes, reverse=True)


def test_a_mirror_killed_in_the_middle_costs_the_epoch_nothing(servers):
    primary, keeper, capability, handle, relay = mirrored(servers, deadline=0.4)
    stage(handle, "new")
    relay.budget = 4 * SENT
    thread, result = flushing(handle)
    until(lambda: relay.budget <= 0, 60, "half of it has reached the mirror")
    keeper.kill()
    relay.close()
    thread.join()
    assert result == [0] and version_of(primary.connect(capability)) == "new"


def test_a_mirror_cut_off_and_reached_again_has_the_epoch(servers):
    primary, keeper, _, handle, relay = mirrored(servers)
    for turn in range(5):
        stage(handle, "new" if turn % 2 == 0 else "old")
        relay.budget = turn * 2 * SENT + 100
        thread, result = flushing(handle)
        until(lambda: relay.budget <= 0, 60, "so much has reached the mirror")
        relay.open.clear()
        until(lambda: not relay.pairs, 60, "it is cut")
        relay.budget = None
        relay.open.set()
        thread.join()
        assert result == [0]
        primary.until_mirror("complete")
    assert primary.events().count("filling") == 1
    stage(handle, "new")
    handle.flush()
    primary.kill()
    relay.close()
    assert version_of(keeper.connect(keeper.promote(token=2, lost_usec=1))) == "new"


def test_an_epoch_that_a_full_mirror_refuses_is_acknowledged_and_the_mirror_does_not_stand_in(servers):
    """Nobody waits for it, and it cannot be reached anew: what it knows of that is its own refusal."""
    primary, keeper = servers(), servers("16MiB")
    capability = primary.open(size=8 * MIB)
    relay = Relay(primary.path("relay"), keeper.socket)
    primary.mirror(keeper, uri=relay.uri, deadline=PATIENCE)
    primary.until_mirror("complete")
    handle = writer(primary, capability)
    handle.pwrite(b"old" * MIB, 0)
    handle.flush()
    other = keeper.connect(keeper.open(size=16 * MIB, space="other"))
    other.pwrite(b"other" * 2 * MIB, 0)
    os.unlink(relay.path)    # no new connection; the one that is there goes on
    handle.pwrite(b"new" * 2 * MIB, 0)
    handle.flush()
    told = keeper.space()
    primary.kill()
    relay.close()
    assert (told["copy"], told["text"], told["epochs"]) == ("complete", "a save was refused", 1)
    with pytest.raises(Refused) as refused:
        keeper.promote(token=2, lost_usec=1)
    assert refused.value.errno == errno.ESTALE and "a save was refused here" in refused.value.text


def test_other_saves_go_on_beside_an_epoch_and_reach_the_mirror(servers):
    primary, keeper, capability, handle, relay = mirrored(servers)
    plain = primary.connect(capability)
    stage(handle, "new")
    plain.pwrite(page(1, "plain"), PAGE)
    assert plain.pread(PAGE, PAGE) == page(1, "plain") and version_of(plain) == "old"
    handle.flush()
    primary.kill()
    relay.close()
    new = keeper.connect(keeper.promote(token=2, lost_usec=1))
    assert new.pread(PAGE, PAGE) == page(1, "plain") and version_of(new) == "new"


def test_an_epoch_that_was_begun_at_a_mirror_is_gone_when_it_is_promoted(servers):
    primary, keeper, _, handle, relay = mirrored(servers)
    stage(handle, "new")
    relay.budget = 6 * SENT
    thread, result = flushing(handle)
    until(lambda: relay.budget <= 0 and "staged_bytes" in keeper.space(), 60, "half of it has reached the mirror")
    new = keeper.connect(keeper.promote(token=2, lost_usec=1))
    assert version_of(new) == "old" and keeper.space()["held_bytes"] == len(PAGES) * PAGE
    relay.budget = None    # what comes now comes late
    thread.join()
    assert result == [errno.EPERM] and version_of(new) == "old"
    relay.close()


def test_a_space_that_moves_takes_no_epochs_and_one_with_a_writer_does_not_move(servers):
    server, capability, handle = old(servers)
    other = servers()
    with pytest.raises(Refused) as refused:
        server.mirror(other, call="hand-over")
    assert refused.value.errno == errno.EBUSY and "writes epochs" in refused.value.text
    other.drop(**name())
    handle.shutdown()
    until(lambda: "writer" not in server.space(), 60, "the writer is gone")
    server.mirror(other, call="hand-over")
    with pytest.raises(nbd.Error):
        writer(server, capability)


def test_an_epoch_is_on_disk_when_its_flush_was_answered(servers, tmp_path):
    persist = f"persist={tmp_path}"
    server = servers("64MiB", persist)
    handle = writer(server, server.open(persist=True))
    stage(handle, "old")
    handle.flush()
    stage(handle, "new", PAGES[:3])
    server.kill()
    again = servers("64MiB", persist)
    assert version_of(again.connect(again.promote(token=2, force=True))) == "old"
