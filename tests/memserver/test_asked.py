# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pages are returned from whoever has them: a pager that begins anew finds them, and they move between servers."""
import itertools
import os
import random
import signal

import pytest
from server import MIB, PAGE, SECONDS, name, page
from test_pager import finish, mirrored, writers_at
from test_per_save import held, share, spread_pager, until_all_mirrored
from testbed.wait import until
from writer import write_more


def killed(pager, writers=()):
    pager.process.kill()
    pager.process.wait()
    for writer in writers:
        writer.finish()


def ended(pager, handle):
    handle.shutdown()
    pager.process.send_signal(signal.SIGTERM)
    assert pager.process.wait(SECONDS) == 0


def checked(pager, writers):
    handle = pager.connect()
    for writer in writers:
        writer.check(handle)


def refused(pagers, servers, said, **options):
    pager = pagers(servers, start=False, **options)
    assert pager.process.wait(SECONDS) != 0 and said in pager.log(), pager.log()


def spaces_of(server, **which):
    return server.ask("spaces", **{**name(), **which})


def test_a_pager_that_begins_anew_finds_the_pages_of_one_that_was_killed(servers, pagers):
    pager, one, other = mirrored(servers, pagers)
    writers = writers_at(pager)
    write_more(writers, 200)
    killed(pager, writers)
    again = pagers([one, other])
    checked(again, writers)
    assert one.space()["held_bytes"] > 0
    again.until(held_bytes=one.space()["held_bytes"])
    again.until_mirrored(one, other)
    one.kill()    # what it found has a mirror, as before
    checked(again, writers)


def test_a_pager_that_begins_anew_finds_each_page_where_it_was_saved(servers, pagers):
    """Per save: of no page two copies are found, of which one would be older."""
    three = [servers() for _ in range(3)]
    hogs = [server.connect(server.open(space="hog", size=64 * MIB)) for server in three]
    pager, writers = spread_pager(pagers, three), []
    until_all_mirrored(pager)
    for turn in range(3):
        writers = writers_at(pager) if not writers else [
            type(w)(pager, None, w.first, w.count, turn, w) for w in writers]
        for writer in writers:
            if not writer.is_alive():
                writer.start()
        hogs[turn].pwrite(os.urandom(20 * MIB), 0)    # pages move
        until(lambda: pager.status()["shares"][turn]["room_bytes"] < 45 * MIB, 30, "the pager knows")
        write_more(writers, 300)
        hogs[turn].trim(20 * MIB, 0)
        killed(pager, writers)
        pager = spread_pager(pagers, three)
        checked(pager, writers)
    pager.until(leftover_bytes=0)
    pager.until(held_bytes=sum(held(server, i + 1) for i, server in enumerate(three)))


def test_what_is_not_sure_to_be_the_latest_is_neither_taken_nor_dropped(servers, pagers):
    pager, one, other = mirrored(servers, pagers)
    handle = pager.connect()
    handle.pwrite(page(1), PAGE)
    killed(pager)
    one.stop()
    refused(pagers, [one, other], "its primary is alive at a server that does not answer", deadline="2s")
    one.go_on()
    refused(pagers, [one, other], "of another size", size="32MiB")
    again = pagers([one, other])
    assert again.connect().pread(PAGE, PAGE) == page(1)
    again.until_mirrored(one, other)
    killed(again)
    one.kill()
    refused(pagers, [one, other], "only a server knows that does not answer")
    one.start()    # empty
    refused(pagers, [one, other], "or has begun anew")
    assert other.space()["held_bytes"] == PAGE
    last = pagers([one, other], parameters=("return=remembered",))
    handle = last.connect()
    assert handle.pread(PAGE, PAGE) == bytes(PAGE)
    ended(last, handle)
    assert spaces_of(one) == [] and spaces_of(other) == []


def test_a_silent_server_that_may_have_the_pages_is_waited_for(servers, pagers, tmp_path):
    one, other = servers(), servers()
    options = {"parameters": ("mirror=no", f"status={tmp_path}/status")}
    pager = pagers([one, other], **options)
    handle = pager.connect()
    handle.pwrite(page(1), PAGE)
    handle.flush()
    killed(pager)
    one.stop()
    refused(pagers, [one, other], "only a server knows that does not answer", deadline="2s", **options)
    one.go_on()
    again = pagers([one, other], **options)
    handle = again.connect()
    assert handle.pread(PAGE, PAGE) == page(1)
    ended(again, handle)    # and nothing is left of it
    one.stop()
    last = pagers([one, other], deadline="2s", **options)
    assert last.connect().pread(PAGE, PAGE) == bytes(PAGE)
    one.go_on()


def test_who_has_pages_already_gets_no_empty_space(servers, pagers):
    server = servers()
    refused(pagers, [server], "anything of an earlier pager", parameters=("resume=yes",))
    pager = pagers([server], parameters=("keep=yes",))
    handle = pager.connect()
    handle.pwrite(page(7), 0)
    ended(pager, handle)
    again = pagers([server], parameters=("resume=yes",))
    assert again.connect().pread(PAGE, 0) == page(7)


def crowd(server, mib):
    """Another client takes so much of a server."""
    handle = server.connect(server.open(space="hog", size=64 * MIB))
    for at in range(mib):
        handle.pwrite(os.urandom(MIB), at * MIB)
    return handle


@pytest.mark.parametrize("decided,n", [("arbitrator", 2), ("broadcast", 3)])
def test_a_space_moves_to_where_there_is_room_while_its_client_works(decided, n, network, arbitrator, servers, pagers):
    """Two servers and no mirror; three, and mirrored all the while."""
    every = [servers("64MiB", *network.at_servers(), prefix=network.prefix) for _ in range(n)]
    pager = pagers(every, size="32MiB", prefix=network.prefix,
                   parameters=(*network.at_pager(decided), f"mirror={'yes' if n > 2 else 'no'}"))
    handle = pager.connect()
    pager.until(state="serving")
    source = next(one for one in every if one.control_path == pager.status()["primary"])
    if n > 2:
        pager.until(mirror_state="complete")
    for number in range(4096, 8192):
        handle.pwrite(page(number), number * PAGE)
    writers = writers_at(pager)
    write_more(writers)
    crowd(source, 40)
    pager.until(60, moves=1)
    write_more(writers)
    target = next(one for one in every if one.control_path == pager.status()["primary"])
    assert target is not source and pager.status()["takeovers"] == 0
    assert pager.events().count("moved") == 1
    for number in range(4096, 8192):
        assert handle.pread(PAGE, number * PAGE) == page(number)
    if n > 2:
        pager.until(mirror_state="complete", lost_bytes=0)
        target.kill()    # the new mirror has everything
        write_more(writers)
    else:
        until(lambda: spaces_of(source) == [], 30, "the old server has nothing left")
    finish(pager, writers)
    for number in range(4096, 8192):
        assert handle.pread(PAGE, number * PAGE) == page(number)


@pytest.mark.parametrize("fault", ["source killed", "target killed", "target stalled"])
def test_a_server_that_is_lost_while_a_space_moves_costs_no_page(fault, network, arbitrator, servers, pagers):
    every = [servers("64MiB", *network.at_servers(), prefix=network.prefix) for _ in range(3)]
    pager = pagers(every, size="32MiB", prefix=network.prefix, fill_rate="4MiB", deadline="3s",
                   parameters=network.at_pager("arbitrator"))
    pager.until(mirror_state="complete")
    source = next(one for one in every if one.control_path == pager.status()["primary"])
    writers = writers_at(pager)
    handle = pager.connect()
    for number in range(4096, 8192):
        handle.pwrite(page(number), number * PAGE)
    crowd(source, 40)
    until(lambda: pager.status()["moving_to"], 60, "it moves")
    target = next(one for one in every if one.control_path == pager.status()["moving_to"])
    until(lambda: target.space()["held_bytes"] > 2 * MIB, 30, "pages are on both")
    if fault == "target stalled":
        target.stop()
        target.go_on()    # it is waited for
        write_more(writers)
        pager.until(60, moves=1, takeovers=0)
    else:
        (source if fault == "source killed" else target).kill()
        write_more(writers)
        for number in range(4096, 8192):    # some of them were there
            assert handle.pread(PAGE, number * PAGE) == page(number)
        pager.until(60, takeovers=1, moving_to=None)
    write_more(writers)
    finish(pager, writers)
    for number in range(4096, 8192):
        assert handle.pread(PAGE, number * PAGE) == page(number)
    assert pager.status()["lost_bytes"] == 0


@pytest.mark.parametrize("save,returned,decided", itertools.product(("fixed", "per-save"), ("remembered", "asked"),
                                                                    ("broadcast", "arbitrator")))
def test_every_combination_keeps_every_word(save, returned, decided, network, arbitrator, servers, pagers):
    """Two clients on two nodes, two processes of each, at two servers: nothing mixes; and where pages are asked for,
    they move in the middle, when one server is crowded."""
    two = [servers("64MiB", *network.at_servers(), prefix=network.prefix) for _ in range(2)]
    clients = [pagers(two, size="8MiB", node=node, owner=owner, prefix=network.prefix,
                      parameters=(*network.at_pager(decided), f"save={save}", f"return={returned}", "mirror=no"))
               for node in ("n1", "n2") for owner in ("p1", "p2")]
    handles = [client.connect() for client in clients]
    dice = random.Random(3)
    wanted = [[(number, who, dice.random()) for number in range(1024)] for who in range(len(clients))]
    for number in range(1024):
        for handle, words in zip(handles, wanted):
            handle.pwrite(page(*words[number][:2]), number * PAGE)
    crowd(max(two, key=lambda one: one.load()["memory_used_bytes"]), 45)
    if returned == "asked":
        until(lambda: not any(one.status()["state"] != "serving" for one in clients) and
              sum(one.status()["moves"] for one in clients) >= 1, 60,
              lambda: repr([one.status() for one in clients]))
    for number in range(0, 1024, 2):
        for handle, words in zip(handles, wanted):
            words[number] = (number, words[number][1] + 10)
            handle.pwrite(page(*words[number][:2]), number * PAGE)
    for handle, words in zip(handles, wanted):
        for number in range(1024):
            assert handle.pread(PAGE, number * PAGE) == page(*words[number][:2])
    assert all(one.status()["lost_bytes"] == 0 for one in clients)
