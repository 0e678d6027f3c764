# SPDX-License-Identifier: LGPL-2.1-or-later
"""A page that the spill file of a server does not give back is read at its mirror, and is lost without one."""
import errno

import nbd
import pytest
from server import MIB, PAGE, SECONDS, page
from testbed.wait import until

SIZE = 32 * MIB    # half of it is spilled
PAGES = SIZE // PAGE


@pytest.fixture
def server(servers):
    return servers("16MiB", "spill=spill", "spill-size=64MiB")


def fill(server):
    """A connection to a space where every page holds its number."""
    client = server.connect(server.open(size=SIZE))
    for number in range(PAGES):
        client.pwrite(page(number), number * PAGE)
    assert server.load()["spill_used_bytes"] >= SIZE - 16 * MIB
    return client


def lost_pages(client):
    lost = []
    for number in range(PAGES):
        try:
            assert client.pread(PAGE, number * PAGE) == page(number)
        except nbd.Error as error:
            assert error.errnum == errno.EIO
            lost.append(number)
    return lost


def test_without_a_mirror_a_spilled_page_that_is_gone_is_an_error_until_it_is_written(server):
    client = fill(server)
    spilled = server.load()["spill_used_bytes"] // PAGE
    server.break_spill()
    lost = lost_pages(client)
    assert len(lost) == spilled == server.load()["spill_errors"]
    client.pwrite(page(lost[0]), lost[0] * PAGE)
    assert lost_pages(client) == lost[1:]


@pytest.mark.parametrize("relaxed", [False, True])
def test_spilled_pages_that_are_gone_come_from_the_mirror_and_are_here_again(server, servers, relaxed):
    mirror = servers("64MiB")
    client = fill(server)
    server.mirror(mirror, relaxed=relaxed)
    server.until_mirror("complete")
    server.break_spill()
    assert lost_pages(client) == []
    assert server.space()["mirror"] == "complete"
    mirror.kill()
    # What was read has been written here anew: in memory, or in the spill file, which takes pages.
    assert lost_pages(client) == []


def test_a_part_of_a_page_that_is_gone_is_saved_with_the_rest_of_it_from_the_mirror(server, servers):
    mirror = servers("64MiB")
    client = fill(server)
    server.mirror(mirror)
    server.until_mirror("complete")
    server.break_spill()
    for number in range(PAGES):
        client.pwrite(b"part", number * PAGE + 100)
        client.zero(8, number * PAGE + 200)
    assert server.load()["spill_errors"] > 0 and server.space()["mirror"] == "complete"

    def as_written(number):
        whole = bytearray(page(number))
        whole[100:104], whole[200:208] = b"part", bytes(8)
        return bytes(whole)

    for number in range(PAGES):
        assert client.pread(PAGE, number * PAGE) == as_written(number)
    server.kill()
    promoted = mirror.connect(mirror.promote(2, force=True))
    for number in range(PAGES):
        assert promoted.pread(PAGE, number * PAGE) == as_written(number)


def test_pages_that_both_have_lost_are_errors_and_no_others(server, servers):
    mirror = servers("16MiB", "spill=spill", "spill-size=64MiB")
    client = fill(server)
    server.mirror(mirror)
    server.until_mirror("complete")
    here = server.load()["spill_used_bytes"] // PAGE
    server.break_spill()
    mirror.break_spill()
    lost = lost_pages(client)
    assert 0 < len(lost) <= here
    assert server.space()["mirror"] == "complete", "what it has is still good"
    assert lost_pages(client) == lost


def test_a_mirror_that_a_lost_page_prevents_says_which_and_is_there_once_it_was_written(server, servers):
    mirror = servers("64MiB")
    client = fill(server)
    server.break_spill()
    lost = lost_pages(client)
    server.mirror(mirror)
    named = f"no mirror as long as the page at byte {lost[-1] * PAGE} cannot be read here"
    for number in lost[:-1]:
        client.pwrite(page(number), number * PAGE)
    until(lambda: server.space().get("text") == named, SECONDS, lambda: repr(server.space()))
    client.pwrite(page(lost[-1]), lost[-1] * PAGE)
    server.until_mirror("complete")
    assert lost_pages(client) == []
