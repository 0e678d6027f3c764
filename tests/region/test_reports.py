# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a program's use of a region tells its holder, and what the loss of the holder tells the program."""
import collections
import errno
import subprocess

import nbd
import pytest
from region import WRITE, Failed, Nbdkit, region_list
from server import MIB, PAGE, SECONDS, name
from testbed.wait import until


class Holder:
    """A memory server with one region, and programs that were told of it."""

    def __init__(self, clients, server, kind, **entry):
        self.clients, self.server, self.capability = clients, server, server.open(size=MIB)
        self.entry = {"name": "orders", "size": MIB, "kind": kind, "write": True, "reports": True,
                      "uri": server.uri(self.capability), **entry}

    def writer(self):
        fd = region_list(self.entry)
        client = self.clients(fds=[fd], FAILOVER_REGIONS_FD=str(fd))
        client.open(flags=WRITE)
        return client

    def until_told(self, **least):
        def told():
            space = collections.Counter(self.server.space())    # what is 0 is left out
            return space["report_age_usec"] > 0 and all(space[f"client_{key}"] >= least[key] for key in least) and space

        return until(told, SECONDS, lambda: f"the holder is told: {self.server.space()}")


def fails_with(client, code):
    """None: it does not fail."""
    def answers():
        try:
            client.ask("check")
        except Failed as failed:
            return failed.what == code
        return code is None

    return answers


def is_unread_at(server):
    """Whether something has been sent to it that it has not read."""
    sockets = subprocess.run(["ss", "-xH", "src", server.socket], check=True, capture_output=True, text=True).stdout
    return any("ESTAB" in line and int(line.split()[2]) > 0 for line in sockets.splitlines())


def test_a_holder_is_told_how_its_region_is_used(clients, servers):
    holder = Holder(clients, servers(), 1)
    writer = holder.writer()
    for page in range(3):
        writer.get(page * 9 * PAGE)
    writer.ask("put", 9 * PAGE, 7)
    told = holder.until_told(faults=3, written_bytes=PAGE)
    assert "process" in told["client"] and told["client_dirty_bytes"] == 0 and told["client_errors"] == 0
    assert told["client_resident_bytes"] == 3 * PAGE
    assert told["saved_bytes"] == told["client_written_bytes"] == PAGE and told["returned_bytes"] == 3 * PAGE
    holder.server.ask("grant", **name(), token=told["token"] + 1)
    assert "report_age_usec" not in holder.server.space()   # it was another program's


def test_a_resident_region_is_all_there_and_never_faults(clients, servers):
    holder = Holder(clients, servers(), 3, epochs=True)
    writer = holder.writer()
    writer.ask("put", 0, 1)
    writer.ask("flush")
    told = holder.until_told(written_bytes=PAGE)
    assert told["client_resident_bytes"] == MIB and told["client_faults"] == 0 and told["epochs"] == 1


def test_what_was_stored_between_two_write_backs_is_told(clients, servers):
    holder = Holder(clients, servers(), 3, epochs=True)    # written back on request
    writer = holder.writer()
    for page in (1, 5, 200):
        writer.ask("put", page * PAGE, page)
    assert holder.until_told(dirty_bytes=3 * PAGE)["client_dirty_bytes"] == 3 * PAGE
    assert writer.statistics()["dirty"] == 3 * PAGE    # the program knows it as well
    writer.ask("put", 5 * PAGE, 0)    # as the other end has it
    until(lambda: holder.server.space()["client_dirty_bytes"] == 2 * PAGE, SECONDS, holder.server.log)
    writer.ask("flush")
    assert writer.statistics()["dirty"] == 0
    until(lambda: "client_dirty_bytes" not in holder.server.space(), SECONDS, holder.server.log)
    assert holder.server.space()["saved_bytes"] == 2 * PAGE


def test_nothing_but_a_report_gets_through_where_reports_go(clients, servers):
    holder = Holder(clients, servers(), 1)
    holder.writer()
    holder.until_told()
    handle = holder.server.connect(holder.capability + ".report")
    assert handle.get_size() == 128
    for refused in (lambda: handle.pwrite(bytes(128), 0), lambda: handle.pwrite(b"x", 0),
                    lambda: handle.pread(128, 0), lambda: handle.trim(128, 0)):
        with pytest.raises(nbd.Error):
            refused()
    assert holder.server.space()["held_bytes"] == 0
    with pytest.raises(nbd.Error):
        holder.server.connect("0" * 64 + ".report")


def test_a_report_that_a_silent_holder_does_not_take_holds_no_close_up(clients, servers):
    """Nothing is left to be written back, so that nothing else would wait for its answer."""
    holder = Holder(clients, servers(), 1, **{"deadline-ms": 600000})
    writer = holder.writer()
    holder.until_told()
    holder.server.stop()
    until(lambda: is_unread_at(holder.server), SECONDS, "a report is under way")
    writer.ask("close")
    holder.server.go_on()


def test_a_server_that_takes_any_name_is_told_nothing(clients):
    with_any_name = Nbdkit("memory", str(MIB))
    try:
        fd = region_list({"name": "orders", "size": MIB, "kind": 3, "write": True, "reports": True,
                          "uri": with_any_name.uri})
        client = clients(fds=[fd], FAILOVER_REGIONS_FD=str(fd))
        client.open(flags=WRITE)
        client.ask("put", PAGE, 1)
        client.ask("flush")
        client.ask("close")
        handle = nbd.NBD()
        handle.connect_uri(with_any_name.uri)
        assert handle.pread(PAGE, 0) == bytes(PAGE)
        handle.shutdown()
    finally:
        with_any_name.close()


@pytest.mark.parametrize("kind", [1, 3])
def test_a_program_that_stores_nothing_is_told_that_its_holder_was_lost(clients, servers, kind):
    holder = Holder(clients, servers(), kind, **{"deadline-ms": 1000})
    writer = holder.writer()
    holder.until_told()
    writer.ask("check")
    holder.server.stop()
    until(fails_with(writer, errno.ENOTCONN), SECONDS, "the loss is told")
    assert "seconds" in writer.fails("check")[1]
    holder.server.go_on()
    until(fails_with(writer, None), SECONDS, "it is heard again")


@pytest.mark.parametrize("kind", [1, 3])
def test_a_program_that_stores_nothing_is_told_that_another_one_has_the_region(clients, servers, kind):
    holder = Holder(clients, servers(), kind)
    writer = holder.writer()
    holder.server.ask("grant", **name(), token=holder.until_told()["token"] + 1)
    until(fails_with(writer, errno.EPERM), SECONDS, "the loss is told")
    assert "taken away" in writer.fails("check")[1]


def test_without_reports_the_last_write_back_tells(clients, nbdkit):
    server = nbdkit("memory", str(MIB))
    writer = clients()
    writer.open(uri=server.uri, kind=3, flags=WRITE, write_back=20, deadline=500)
    writer.ask("check")
    server.kill()
    writer.ask("put", 0, 1)
    until(fails_with(writer, errno.ENOTCONN), SECONDS, "the loss is told")


def test_a_holder_that_has_ended_is_lost_to_every_call(clients, servers):
    """However the system calls it: a connection that is cut, one that is refused."""
    holder = Holder(clients, servers(), 3, epochs=True)
    writer = holder.writer()
    holder.server.kill()
    for value in range(3):
        writer.ask("put", PAGE, value + 1)
        assert writer.fails("flush")[0] == errno.ENOTCONN
    with pytest.raises(Failed) as refused:
        clients().open("orders", uri=holder.entry["uri"], size=MIB, kind=3, flags=WRITE)
    assert refused.value.what == errno.ENOTCONN
