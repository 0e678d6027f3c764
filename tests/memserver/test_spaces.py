# SPDX-License-Identifier: LGPL-2.1-or-later
"""Spaces: nothing mixes, nothing acknowledged is lost, and what is over is refused."""
import errno
import os
import threading
from itertools import product

import nbd
import pytest
from server import MIB, PAGE, Refused, name, page
from testbed.wait import until


def refused_with(code, function, *arguments):
    with pytest.raises(nbd.Error) as error:
        function(*arguments)
    assert error.value.errnum == code, error.value


def test_two_nodes_with_two_processes_each_never_mix(server):
    spaces = {}
    for node, owner, space in product(("n1", "n2"), ("process:7", "process:8"), ("heap", "stack")):
        capability = server.open(node=node, owner=owner, space=space)
        spaces[node, owner, space] = server.connect(capability)
    for number, handle in enumerate(spaces.values()):
        for at in range(0, 64):
            handle.pwrite(page(number, at), at * PAGE)
    for number, handle in enumerate(spaces.values()):
        for at in range(0, 64):
            assert handle.pread(PAGE, at * PAGE) == page(number, at)
    told = {(s["node"], s["owner"], s["space"]): s["held_bytes"] for s in server.ask("spaces")}
    assert told == {key: 64 * PAGE for key in spaces}
    assert len(server.ask("spaces", node="n1")) == 4 and len(server.ask("spaces", owner="process:8", space="heap")) == 2


def test_a_zero_page_costs_nothing(server):
    handle = server.connect(server.open())
    handle.pwrite(bytes(MIB), 0)
    assert server.load()["memory_used_bytes"] == 0
    handle.pwrite(page(1), 0)
    handle.pwrite(bytes(PAGE), 0)
    assert server.load()["memory_used_bytes"] == 0


def test_a_full_server_says_so_and_loses_nothing(servers):
    server = servers("16MiB")
    handle = server.connect(server.open(size=32 * MIB))
    full = 16 * MIB // PAGE
    for number in range(full):
        handle.pwrite(page(number), number * PAGE)
    refused_with(errno.ENOSPC, handle.pwrite, page(full), full * PAGE)
    handle.pwrite(page(5, 1), 5 * PAGE)    # what has a place keeps it
    for number in range(full):
        assert handle.pread(PAGE, number * PAGE) == page(number, int(number == 5))
    assert handle.pread(PAGE, full * PAGE) == bytes(PAGE)
    handle.trim(PAGE, 0)
    handle.pwrite(page(full), full * PAGE)
    assert handle.pread(PAGE, full * PAGE) == page(full)


def test_past_the_spill_file_the_server_is_full_and_the_file_has_no_name(servers):
    server = servers("16MiB", "spill=spill", "spill-size=16MiB")
    assert not os.path.exists(server.path("spill"))
    handle = server.connect(server.open(size=64 * MIB))
    full = 32 * MIB // PAGE
    for number in range(full):
        handle.pwrite(page(number), number * PAGE)
    refused_with(errno.ENOSPC, handle.pwrite, page(full), full * PAGE)
    for number in range(full):
        assert handle.pread(PAGE, number * PAGE) == page(number)


def test_quotas_of_a_space_and_of_a_client(servers):
    server = servers("64MiB", "client-quota=1MiB")
    one = server.connect(server.open(space="a", quota_bytes=512 * 1024))
    two = server.connect(server.open(space="b"))
    other = server.connect(server.open(owner="vm2"))
    one.pwrite(os.urandom(512 * 1024), 0)
    refused_with(errno.ENOSPC, one.pwrite, page(1), MIB)
    two.pwrite(os.urandom(512 * 1024), 0)
    refused_with(errno.ENOSPC, two.pwrite, page(1), MIB)
    other.pwrite(os.urandom(MIB), 0)
    one.trim(PAGE, 0)
    two.pwrite(page(1), MIB)


def test_a_wrong_capability_opens_nothing_and_is_logged_once(server):
    good = server.open()
    mine = server.connect(good)
    wrong = good[:-1] + ("0" if good[-1] != "0" else "1")
    for tried in ["", "0" * 64, wrong, good[:-1], good + "0", good.upper(), "x" * 4000, "n1/vm1/swap"] * 5:
        with pytest.raises(nbd.Error):
            server.connect(tried)
    mine.pwrite(page(1), 0)
    assert mine.pread(PAGE, 0) == page(1)
    assert server.log().count("refused") == 1
    assert server.space()["connections"] == 1


def test_a_capability_is_never_told_again(server):
    capability = server.open()
    server.connect(capability).pwrite(page(1), 0)
    lister = nbd.NBD()
    lister.set_opt_mode(True)
    lister.connect_unix(server.socket)
    found = []
    lister.opt_list(lambda export, description: found.append(export) and 0)
    assert found == []
    told = [server.ask(call) for call in ("spaces", "clients", "load")]
    watcher = server.control
    watcher.send("watch")
    event = watcher.hear()
    assert event["event"]["kind"] == "opened"
    assert capability not in server.log() + repr(told) + repr(event)


def test_a_dropped_space_is_gone_at_once(server):
    capability = server.open()
    handle = server.connect(capability)
    handle.pwrite(os.urandom(MIB), 0)
    with pytest.raises(Refused) as old:
        server.drop(token=0)
    assert old.value.errno == errno.ESTALE
    server.drop()
    assert server.load()["memory_used_bytes"] == 0
    refused_with(errno.ESHUTDOWN, handle.pread, PAGE, 0)
    with pytest.raises(nbd.Error):
        server.connect(capability)
    again = server.connect(server.open())
    assert again.pread(PAGE, 0) == bytes(PAGE)


def test_a_new_grant_refuses_what_comes_from_the_old_one(server):
    old = server.open(token=3)
    handle = server.connect(old)
    handle.pwrite(page(1, "old"), 0)
    with pytest.raises(Refused) as stale:
        server.grant(token=3)
    assert stale.value.errno == errno.ESTALE
    new = server.connect(server.grant(token=4))
    refused_with(errno.EPERM, handle.pwrite, page(1, "late"), 0)
    refused_with(errno.EPERM, handle.pread, PAGE, 0)
    refused_with(errno.EPERM, handle.trim, PAGE, 0)
    refused_with(errno.EPERM, handle.flush)
    with pytest.raises(nbd.Error):
        server.connect(old)
    assert new.pread(PAGE, 0) == page(1, "old")


def test_no_write_under_way_lands_after_the_grant(server):
    """Old clients write as fast as they can; whatever grant comes between, its first look stays true."""
    size, pages = 4 * MIB, 4 * MIB // PAGE
    capability = server.open(size=size)

    def write_on(handle):
        version = 0
        try:
            while True:
                version += 1
                for at in range(0, pages, 64):
                    handle.pwrite(page(at, version) * 64, at * PAGE)
        except nbd.Error as error:
            assert error.errnum == errno.EPERM

    for token in range(2, 22):
        writers = [threading.Thread(target=write_on, args=(server.connect(capability),)) for _ in range(3)]
        for writer in writers:
            writer.start()
        until(lambda: server.space()["held_bytes"] == size, 30, "all is written")
        capability = server.grant(token=token)
        mine = server.connect(capability)
        first = mine.pread(size, 0)
        mine.trim(size, 0)
        for writer in writers:
            writer.join()
        assert len(first) == size and mine.pread(size, 0) == bytes(size)
        mine.shutdown()


def test_requests_past_the_limits_are_refused_and_the_connection_goes_on(server):
    handle = server.connect(server.open(size=128 * MIB))
    handle.set_strict_mode(0)
    refused_with(errno.EINVAL, handle.pwrite, bytes(33 * MIB), 0)
    with pytest.raises(nbd.Error):
        handle.pread(PAGE, 128 * MIB)
    with pytest.raises(nbd.Error):
        handle.pwrite(page(1), 128 * MIB - 1)
    with pytest.raises(nbd.Error):
        handle.trim(PAGE, 1 << 62)
    handle.pwrite(page(1), 0)
    assert handle.pread(PAGE, 0) == page(1)


def test_a_space_takes_a_bounded_number_of_connections(server):
    capability = server.open()
    handles = [server.connect(capability) for _ in range(64)]
    with pytest.raises(nbd.Error):
        server.connect(capability)
    handles.pop().shutdown()
    until(lambda: server.space()["connections"] == 63, 30, "the connection is gone")
    server.connect(capability).pwrite(page(1), 0)


def test_all_of_an_address_space_is_one_space(server):
    handle = server.connect(server.open(size=1 << 56, **name(owner="process:99", space="memory")))
    top = (1 << 56) - PAGE
    handle.pwrite(page(1), top)
    handle.pwrite(page(2), 0x7fff_dead_b000)
    assert handle.pread(PAGE, top) == page(1) and handle.pread(PAGE, 0x7fff_dead_b000) == page(2)
    assert server.load()["memory_used_bytes"] == 2 * PAGE


def test_who_looks_reads_alone_and_ends_no_grant(server):
    capability = server.open()
    handle = server.connect(capability)
    handle.pwrite(page(1), PAGE)
    looks = [server.ask("look", **name())[0] for _ in range(2)]
    assert capability not in looks
    readers = [server.connect(look) for look in looks]
    for reader in readers:
        assert reader.is_read_only() and reader.pread(PAGE, PAGE) == page(1)
        reader.set_strict_mode(0)
        for change in (lambda: reader.pwrite(page(2), PAGE), lambda: reader.trim(PAGE, PAGE)):
            with pytest.raises(nbd.Error):
                change()
    with pytest.raises(nbd.Error):
        server.connect(looks[0] + ".epoch")
    handle.pwrite(page(2), PAGE)    # its grant is what it was
    assert readers[0].pread(PAGE, PAGE) == page(2) and server.space()["token"] == 1
    server.grant(token=2)
    refused_with(errno.EPERM, readers[0].pread, PAGE, PAGE)
    with pytest.raises(nbd.Error):
        server.connect(looks[0])
    server.open(role="mirror", space="copy")
    for which in {"space": "copy"}, {"role": "mirror"}:
        with pytest.raises(Refused) as other:
            server.ask("look", **{**name(), **which})
        assert other.value.errno == errno.EPERM
    (look,) = server.ask("look", role="mirror", **name(space="copy"))
    assert server.connect(look).is_read_only()
