# SPDX-License-Identifier: LGPL-2.1-or-later
"""Regions whose write-backs a memory server applies whole or not at all."""
import errno
import json
import os

import pytest
from region import WRITE
from server import MIB, PAGE, SECONDS, name
from testbed.wait import until

SIZE = MIB
PAGES = 40    # every other one of the region's first, so that each is a request of its own


class Program:
    """Programs that were told of one region at the server."""

    def __init__(self, clients, server, **entry):
        self.clients, self.server = clients, server
        self.uri = server.uri(server.open(size=SIZE))
        self.entry = {"name": "orders", "size": SIZE, "kind": 3, "write": True, "epochs": True, "uri": self.uri,
                      **entry}

    def client(self, **entry):
        fd = os.memfd_create("regions")
        os.write(fd, json.dumps({"failover-regions": 1, "regions": [{**self.entry, **entry}]}).encode())
        return self.clients(fds=[fd], FAILOVER_REGIONS_FD=str(fd))

    def writer(self, **entry):
        client = self.client(**entry)
        client.open(flags=WRITE)
        return client

    def versions(self):
        """Of all pages that are written: what one who comes now finds."""
        reader = self.client()
        reader.open()
        return {reader.get(2 * page * PAGE) for page in range(PAGES)}


def store(writer, version):
    for page in range(PAGES):
        writer.ask("put", 2 * page * PAGE, version)


def begun(space, staged):
    return space["epochs"] == 2 or space.get("staged_bytes", 0) >= staged * PAGE


@pytest.fixture
def program(clients, servers):
    return Program(clients, servers())


@pytest.mark.parametrize("kind", [3, 4])
def test_a_write_back_is_an_epoch(program, kind):
    writer = program.writer(kind=kind)
    for version in (1, 2):
        store(writer, version)
        assert program.versions() == {version - 1}
        writer.ask("flush")
        assert program.versions() == {version}
    assert writer.statistics()["atomic"] == 1 and program.server.space()["epochs"] == 2
    writer.ask("flush")
    assert program.server.space()["epochs"] == 2    # there was nothing to write
    store(writer, 3)
    writer.ask("close")
    assert program.versions() == {3}


def test_epochs_come_by_themselves(program):
    writer = program.writer(**{"write-back-ms": 20})
    store(writer, 1)
    until(lambda: program.versions() == {1}, SECONDS, "it has come")


def test_a_second_writer_is_refused_until_the_first_has_gone(program):
    first, second = program.writer(), program.client()
    what, text = second.fails("open", "orders", flags=WRITE)
    assert what == errno.EBUSY and "another one writes" in text
    second.open()
    second.ask("close")
    first.kill()
    until(lambda: "writer" not in program.server.space(), SECONDS, "its connection has ended")
    second.open(flags=WRITE)


@pytest.mark.parametrize("staged", [1, 2, 7, PAGES // 2, PAGES - 1])
def test_a_writer_killed_at_any_page_of_a_flush_leaves_the_last_whole_one(program, staged):
    writer = program.writer()
    store(writer, 1)
    writer.ask("close")
    until(lambda: "writer" not in program.server.space(), SECONDS, "its connection has ended")
    writer = program.writer(bandwidth=400 * 1024)    # 10 ms a page, but for a burst
    store(writer, 2)
    writer.send("flush")
    until(lambda: begun(program.server.space(), staged), SECONDS, "some pages are staged")
    writer.kill()
    until(lambda: "writer" not in program.server.space(), SECONDS, "its connection has ended")
    assert program.versions() in ({1}, {2})
    again = program.writer()
    assert {again.get(2 * page * PAGE) for page in range(PAGES)} == program.versions()


def test_a_late_write_back_changes_nothing(program):
    writer = program.writer(**{"deadline-ms": 2000})
    store(writer, 1)
    writer.ask("flush")
    store(writer, 2)
    program.entry["uri"] = program.server.uri(program.server.grant(2, **name()))
    assert writer.fails("flush")[0] != 0
    assert program.versions() == {1}
    successor = program.writer()
    store(successor, 3)
    successor.ask("flush")
    assert writer.fails("close")[0] != 0
    assert program.versions() == {3}


def test_an_epoch_that_failed_is_whole_the_next_time(clients, servers):
    server = servers()
    program = Program(clients, server)
    writer = program.writer(**{"deadline-ms": 1000})
    store(writer, 1)
    server.stop()
    assert writer.fails("flush")[0] in (errno.ENOTCONN, errno.ETIMEDOUT)
    assert writer.statistics()["dirty"] == PAGES * PAGE
    writer.ask("put", 0, 1)
    server.go_on()
    until(lambda: writer.statistics()["dirty"] == 0, SECONDS, "it has been tried again")
    assert program.versions() == {1}
