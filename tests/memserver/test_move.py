# SPDX-License-Identifier: LGPL-2.1-or-later
"""Moves of a space that its pager has not begun itself, or that come to nothing."""
import errno
import threading

import nbd
import pytest
from relay import Relay
from server import MIB, PAGE, Refused, name, page
from testbed.wait import until

PAGES = 1000


def begun(servers, mirror=True, deadline=5.0):
    """A space of an earlier pager's, its server, its mirror's and one more."""
    primary, keeper, other = servers(), servers(), servers()
    handle = primary.connect(primary.open())
    for number in range(PAGES):
        handle.pwrite(page(number), number * PAGE)
    if mirror:
        primary.mirror(keeper, deadline=deadline)
        primary.until_mirror("complete")
    return primary, keeper, other, handle


def leave(server, handle):
    """The earlier pager dies."""
    handle.shutdown()
    until(lambda: server.space()["connections"] == 0, 30, "the server has noticed")


def nowhere(capability):
    return f"nbd+unix:///{capability}?socket=/nowhere"


def check(pager):
    handle = pager.connect()
    for number in range(PAGES + 10):
        assert handle.pread(PAGE, number * PAGE) == (page(number) if number < PAGES else bytes(PAGE))
    handle.shutdown()
    assert pager.status()["lost_bytes"] == 0


@pytest.mark.parametrize("rate", [MIB, 1 << 30])
def test_a_move_whose_pager_died_is_gone_on_with(rate, servers, pagers):
    """Half-way, and when all was there already."""
    primary, keeper, other, handle = begun(servers)
    primary.mirror(other, "hand-over", rate_bytes=rate)
    primary.until_mirror(*(["filling"] if rate == MIB else ["complete"]), call="hand-over")
    leave(primary, handle)
    pager = pagers([primary, keeper, other])
    pager.until(held_bytes=PAGES * PAGE)    # a page is counted once, wherever it is
    pager.until_mirrored(other, keeper)
    pager.until(moves=1, takeovers=0, moving_to=None, text="")
    check(pager)
    until(lambda: primary.ask("spaces") == [], 30, "the old server is empty")


def test_a_move_by_a_mirror_whose_pager_died_is_gone_on_with(servers, pagers):
    primary, keeper, other, handle = begun(servers, mirror=False)
    primary.mirror(other)
    leave(primary, handle)
    pager = pagers([primary, keeper, other], parameters=("mirror=no",))
    pager.until(state="serving", primary=other.control_path, moves=1, takeovers=0, moving_to=None)
    check(pager)
    until(lambda: primary.ask("spaces") == [], 30, "the old server is empty")


def test_a_move_that_cannot_begin_ends_and_there_are_mirrors_again(servers, pagers):
    primary, keeper, other, handle = begun(servers, deadline=1.0)
    primary.mirror(other, "hand-over", uri=nowhere)
    leave(primary, handle)
    pager = pagers([primary, keeper, other])
    pager.until_mirrored(primary, keeper)
    until(lambda: primary.space()["hand_over"] == "none", 30, lambda: repr(primary.space()))
    keeper.kill()
    pager.until_mirrored(primary, other)
    check(pager)


def test_a_move_whose_target_is_lost_ends_at_the_mirror(servers, pagers):
    """Nobody asks for a page that the target had."""
    primary, keeper, other, handle = begun(servers)
    primary.mirror(other, "hand-over", rate_bytes=MIB)
    until(lambda: other.space()["held_bytes"] > MIB, 30, "pages are on both")
    leave(primary, handle)
    pager = pagers([primary, keeper, other])
    pager.until(moving_to=other.control_path)
    other.kill()
    pager.until(90, primary=keeper.control_path)
    pager.until_mirrored(keeper, primary)
    pager.until(takeovers=1, moves=0, moving_to=None)
    check(pager)


def test_only_a_move_that_has_not_begun_is_called_off(servers):
    source, target = servers(), servers()

    def refused():
        with pytest.raises(Refused) as stay:
            source.ask("stay", **name())
        return stay.value.errno

    assert refused() == errno.ENOENT
    handle = source.connect(source.open())
    assert refused() == errno.ENOENT
    source.mirror(target, "hand-over", uri=nowhere)
    source.ask("stay", **name())
    assert source.space()["hand_over"] == "none"
    target.drop()
    handle.pwrite(page(1), PAGE)
    source.mirror(target, "hand-over")
    source.until_mirror("complete", call="hand-over")
    assert source.space()["hand_over_session"] == target.space()["session"]
    assert refused() == errno.EBUSY
    assert handle.pread(PAGE, PAGE) == page(1)


def test_a_save_over_both_servers_goes_on_when_the_other_one_is_reached_again(servers):
    """The thread that reaches it waits for the pages that the save has."""
    source, target = servers(), servers()
    capability = source.open()
    handle = source.connect(capability)
    for number in range(4 * PAGES):
        handle.pwrite(page(number), number * PAGE)
    relay = Relay(source.path("relay"), target.socket)
    source.mirror(target, "hand-over", rate_bytes=MIB // 4, uri=relay.uri, deadline=20)
    until(lambda: target.space()["held_bytes"] > MIB // 4, 30, "pages are on both")
    saver, data, result = source.connect(capability), page(0, "new") * (4 * PAGES), []

    def save():
        try:
            saver.pwrite(data, 0)
            result.append(0)
        except nbd.Error as error:
            result.append(error.errnum)

    relay.budget = 0
    thread = threading.Thread(target=save)
    thread.start()
    handed = []

    def halted():
        handed.append(source.space()["filled_bytes"])
        return handed[-20:] == handed[-1:] * 20

    until(halted, 30, "no page is handed over any more")
    relay.open.clear()
    until(lambda: source.space()["hand_over"] == "lost", 30, lambda: repr(source.space()))
    relay.budget = None
    relay.open.set()
    thread.join()
    assert result == [0]
    assert handle.pread(len(data), 0) == data
    relay.close()
