# SPDX-License-Identifier: LGPL-2.1-or-later
"""Regions whose other end is nbdkit, or a memory server."""
import errno
import json
import os
import time

import nbd
import pytest
from region import LAZY, UNLOCKED, WRITE, region_list
from server import MIB, PAGE, SECONDS, name
from testbed.wait import until

SIZE = 8 * MIB
PATTERN = ("pattern", str(SIZE))    # each 8 bytes of it are their own offset, big-endian


def memory(nbdkit, size=SIZE):
    return nbdkit("memory", str(size))


def at_server(uri, offset, length=8):
    handle = nbd.NBD()
    handle.connect_uri(uri)
    data = handle.pread(length, offset)
    handle.shutdown()
    return int.from_bytes(data, "little")


@pytest.mark.parametrize("kind", [1, 2, 3, 4])
def test_what_one_stores_another_one_finds(clients, nbdkit, kind):
    server, writer, reader = memory(nbdkit), clients(), clients()
    writer.open(kind=kind, flags=WRITE, uri=server.uri)
    assert writer.number("size") == SIZE
    writer.ask("fill", 7)
    writer.ask("flush")
    reader.open(kind=kind, uri=server.uri)
    assert reader.number("verify", 7) == 0
    assert writer.statistics()["dirty"] == 0
    writer.ask("close")
    assert reader.fails("put", 0, 1)[0] == "segv"


@pytest.mark.parametrize("kind", [1, 3])
def test_a_region_may_end_within_a_page(clients, nbdkit, kind):
    size = 5 * PAGE + 1000
    server, writer, reader = memory(nbdkit, size), clients(), clients()
    writer.open(kind=kind, flags=WRITE, uri=server.uri)
    writer.ask("fill", 3)
    writer.ask("close")
    reader.open(kind=kind, uri=server.uri)
    assert reader.number("verify", 3) == 0 and reader.number("size") == size
    assert reader.get(6 * PAGE - 8) == 0    # behind its end, within its last page
    smaller = clients()
    smaller.open(kind=kind, uri=server.uri, size=PAGE + 8)
    assert smaller.number("verify", 3) == 0 and smaller.number("size") == PAGE + 8
    assert clients().fails("open", "orders", uri=server.uri, size=size + 1)[0] == errno.ERANGE


def test_resident_kinds_never_fault_after_they_were_set_up(clients, nbdkit):
    server, client = memory(nbdkit), clients()
    client.open(kind=3, flags=WRITE, uri=server.uri)
    client.ask("fill", 1)
    client.ask("flush")
    client.ask("fill", 2)
    client.ask("close")
    client.open(kind=4, uri=server.uri)
    assert client.number("verify", 2) == 0
    statistics = client.statistics()
    assert statistics["faults"] == 0 and statistics["fetches"] == 0 and statistics["resident"] == SIZE


def test_threads_on_one_absent_page_fetch_it_once(clients, nbdkit):
    server, client = nbdkit("--filter=delay", "pattern", str(SIZE), "rdelay=200ms"), clients()
    client.open(uri=server.uri)
    _, total = client.ask("touch", 16, PAGE, 0, 8, 1).split()
    statistics = client.statistics()
    assert int(total) == 16 * int.from_bytes(PAGE.to_bytes(8, "big"), "little") % (1 << 64)
    assert statistics["fetches"] == 1 and statistics["fetched"] == PAGE
    assert statistics["faults"] >= 1 and statistics["joined"] == statistics["faults"] - 1


def test_reading_on_reads_ahead_and_jumping_about_does_not(clients, nbdkit):
    server, client = nbdkit(*PATTERN), clients()
    client.open(uri=server.uri)
    client.ask("touch", 1, 0, 0, PAGE, SIZE // PAGE)
    statistics = client.statistics()
    assert statistics["fetched"] == SIZE and statistics["faults"] < SIZE // PAGE / 10
    client.ask("close")
    client.open(uri=server.uri)
    for page in range(40):
        client.get((page * 997 % (SIZE // PAGE)) * PAGE)
    assert client.statistics()["fetched"] <= 60 * PAGE


def test_a_prefetched_page_does_not_fault(clients, nbdkit):
    server, client = nbdkit(*PATTERN), clients()
    client.open(uri=server.uri)
    client.ask("prefetch", PAGE + 5, 100 * PAGE)
    assert client.statistics()["resident"] == 101 * PAGE
    client.ask("touch", 1, PAGE, 0, PAGE, 101)
    assert client.statistics()["faults"] == 0
    assert client.fails("prefetch", SIZE, 1)[0] == errno.ERANGE
    client.ask("prefetch", 0, SIZE)
    assert client.statistics()["resident"] == SIZE


@pytest.mark.parametrize("flags", [0, WRITE])
def test_a_region_may_be_larger_than_the_memory_it_gets(clients, nbdkit, flags):
    size, resident = 64 * MIB, 16 * MIB
    server, client = memory(nbdkit, size), clients()
    client.open(flags=WRITE, uri=server.uri)
    client.ask("fill", 9)
    client.ask("close")
    client.open(flags=flags, uri=server.uri, resident=resident)
    assert client.number("verify", 9) == 0
    if flags:
        client.ask("fill", 10)
        client.ask("flush")
        assert client.number("verify", 10) == 0
    assert client.number("verify", 9 + (flags > 0)) == 0
    assert client.statistics()["fetched"] > size


def test_stores_go_through_by_themselves(clients, nbdkit):
    server, client = memory(nbdkit), clients()
    client.open(kind=1, flags=WRITE, uri=server.uri)
    client.ask("put", 5 * PAGE, 77)
    until(lambda: at_server(server.uri, 5 * PAGE) == 77, SECONDS, "it has come")
    client.ask("put", 5 * PAGE, 78)
    client.ask("flush")
    assert at_server(server.uri, 5 * PAGE) == 78


def test_stores_are_written_back_every_so_often(clients, nbdkit):
    server, client = memory(nbdkit), clients()
    client.open(kind=3, flags=WRITE, uri=server.uri, write_back=50)
    client.ask("put", 5 * PAGE, 77)
    until(lambda: at_server(server.uri, 5 * PAGE) == 77, SECONDS, "it has come")
    assert client.statistics()["atomic"] == 0    # nbdkit knows no epochs


def test_on_request_means_not_before(clients, nbdkit):
    server, client = memory(nbdkit), clients()
    client.open(kind=3, flags=WRITE, uri=server.uri)
    client.ask("put", 0, 77)
    assert at_server(server.uri, 0) == 0
    client.ask("flush")
    assert at_server(server.uri, 0) == 77
    client.ask("put", 0, 78)
    client.ask("close")
    assert at_server(server.uri, 0) == 78


@pytest.mark.parametrize("kind", [1, 2, 3, 4])
def test_words_are_whole_while_a_program_stores(clients, nbdkit, kind):
    server, writer, reader = memory(nbdkit, MIB), clients(), clients()
    writer.open(kind=kind, flags=WRITE, uri=server.uri)
    writer.ask("store-forever")
    reader.open(kind=kind, uri=server.uri)
    for _ in range(20):
        writer.ask("flush")
        reader.ask("refresh")
        assert reader.number("torn") == 0
    assert reader.get(0) > 0


def test_what_the_other_end_has_now_is_seen_after_a_refresh(clients, nbdkit):
    server, writer = memory(nbdkit), clients()
    writer.open(flags=WRITE, uri=server.uri)
    readers = [clients(), clients()]
    for kind, reader in zip((1, 3), readers):
        reader.open(kind=kind, uri=server.uri)
        assert reader.get(0) == 0
    writer.ask("put", 0, 5)
    writer.ask("flush")
    for reader in readers:
        assert reader.get(0) == 0
        reader.ask("refresh")
        assert reader.get(0) == 5


def test_a_child_does_not_inherit_the_region(clients, nbdkit):
    client = clients()
    client.open(uri=nbdkit(*PATTERN).uri)
    assert client.ask("fork") == "11 0"
    assert client.get(PAGE) == int.from_bytes(PAGE.to_bytes(8, "big"), "little")


@pytest.mark.parametrize("kind", [1, 3])
def test_a_program_that_is_killed_leaves_what_was_flushed(clients, nbdkit, kind):
    server, client = memory(nbdkit), clients()
    client.open(kind=kind, flags=WRITE, uri=server.uri)
    client.ask("put", 0, 1)
    client.ask("flush")
    if kind == 3:
        client.ask("put", 0, 2)
    client.kill()
    assert at_server(server.uri, 0) == 1


# ---- privileges ----

# Root without what makes root one, where the device is not to be had.
UNPRIVILEGED = ["unshare", "--mount", "sh", "-c", "mount --bind /dev/null /dev/userfaultfd && exec "
                "prlimit --memlock=65536 setpriv --inh-caps=-all --bounding-set=-all \"$0\""]


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, whose privileges are taken away")


@needs_root
def test_without_privileges_system_calls_need_a_prefetch(clients, nbdkit):
    server, client = nbdkit(*PATTERN), clients(*UNPRIVILEGED)
    client.open(uri=server.uri)
    assert client.get(PAGE) == int.from_bytes(PAGE.to_bytes(8, "big"), "little")
    assert client.fails("pass", 2 * PAGE)[0] == errno.EFAULT
    client.ask("prefetch", 2 * PAGE, PAGE)
    client.ask("pass", 2 * PAGE)


@needs_root
def test_a_descriptor_of_the_device_stands_in_for_privileges(clients, nbdkit):
    device = os.open("/dev/userfaultfd", os.O_RDWR)
    client = clients(*UNPRIVILEGED, fds=[device], FAILOVER_USERFAULTFD_FD=str(device))
    os.close(device)
    client.open(uri=nbdkit(*PATTERN).uri)
    client.ask("pass", 2 * PAGE)


@needs_root
def test_what_cannot_be_locked_is_said(clients, nbdkit):
    server, client = memory(nbdkit), clients(*UNPRIVILEGED)
    what, text = client.fails("open", "orders", uri=server.uri, kind=3)
    assert what == errno.EPERM and "LimitMEMLOCK" in text
    client.open(uri=server.uri, kind=3, flags=WRITE | UNLOCKED)
    client.ask("put", 0, 1)
    client.ask("close")
    assert at_server(server.uri, 0) == 1


# ---- what goes wrong ----

def test_a_cut_in_the_middle_of_a_fetch_is_mended(clients, nbdkit, tmp_path):
    log = tmp_path / "log"
    server = nbdkit("--filter=log", "--filter=delay", "pattern", str(SIZE), "rdelay=1", f"logfile={log}")
    client = clients()
    client.open(uri=server.uri, deadline=20000)
    client.send("get", PAGE)
    until(lambda: " Read " in log.read_text(), SECONDS, log.read_text)
    server.kill()
    server.start()
    assert int(client.hear()) == int.from_bytes(PAGE.to_bytes(8, "big"), "little")
    assert client.statistics()["channels"] == 2


def test_a_server_that_stays_away_ends_the_access_at_the_deadline(clients, nbdkit):
    server, client = nbdkit(*PATTERN), clients()
    client.open(uri=server.uri, deadline=1000)
    assert client.get(0) == 0
    server.kill()
    began = time.monotonic()
    assert client.fails("get", PAGE)[0] == "bus"
    assert time.monotonic() - began > 0.9
    assert client.get(8) != 0    # what is here stays
    assert client.fails("get", PAGE)[0] == "bus"
    server.start()
    client.ask("refresh")
    assert client.get(PAGE) == int.from_bytes(PAGE.to_bytes(8, "big"), "little")


def test_a_server_that_stalls_ends_the_access_at_the_deadline(clients, nbdkit):
    server, client = nbdkit(*PATTERN), clients()
    client.open(uri=server.uri, deadline=1000)
    server.stop()
    assert client.fails("get", PAGE)[0] == "bus"
    assert client.fails("prefetch", 4 * PAGE, PAGE)[0] in (errno.ETIMEDOUT, errno.ENOTCONN)
    server.go_on()
    client.ask("refresh")
    assert client.get(PAGE) == int.from_bytes(PAGE.to_bytes(8, "big"), "little")


def test_nobody_there_is_an_error_at_open(clients):
    client = clients()
    for kind in (1, 3):
        uri = "nbd+unix:///secret0123456789?socket=/nonexistent/nbd"
        what, text = client.fails("open", "orders", uri=uri, kind=kind)
        assert what == errno.ENOENT and "secret" not in text


@pytest.mark.parametrize("kind", [1, 3])
def test_what_could_not_be_written_is_written_when_the_other_end_is_back(clients, nbdkit, kind, tmp_path):
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(SIZE))
    server, client = nbdkit("file", str(disk)), clients()
    client.open(kind=kind, flags=WRITE, uri=server.uri, deadline=1000)
    client.ask("fill", 1)
    client.ask("flush")
    server.kill()
    client.ask("put", PAGE, 5)
    assert client.fails("flush")[0] != 0
    assert client.statistics()["dirty"] == PAGE
    server.start()
    client.ask("flush")
    assert at_server(server.uri, PAGE) == 5
    server.kill()
    client.ask("put", PAGE, 6)
    what, text = client.fails("close")
    assert what != 0 and "lost" in text


def test_reading_is_refused_by_the_server_in_some_places_only(clients, nbdkit):
    server = nbdkit("--filter=error", *PATTERN, "error-pread=EIO", "error-pread-rate=100%")
    client = clients()
    client.open(uri=server.uri, deadline=300000)
    assert client.fails("get", 0)[0] == "bus"    # it need not wait for the deadline
    assert client.fails("open", "orders", uri=server.uri, kind=3)[0] == errno.EIO


def test_options_without_sense_are_refused(clients, nbdkit):
    client, uri = clients(), nbdkit(*PATTERN).uri
    for options in ({"kind": 5}, {"flags": 64}, {"uri": "http://x/"}, {"kind": 1, "write_back": 5},
                    {"kind": 3, "flags": LAZY, "size": 1}, {"flags": LAZY}, {"buffers": 1}):
        assert client.fails("open", "orders", **{"uri": uri, **options})[0] == errno.EINVAL, options
    assert client.fails("open", "../orders", uri=uri)[0] == errno.EINVAL


def test_a_refresh_waits_for_what_is_on_its_way(clients, nbdkit):
    server = nbdkit("--filter=delay", "memory", str(SIZE), "rdelay=100ms")
    reader, writer = clients(), clients()
    reader.open(uri=server.uri)
    writer.open(flags=WRITE, uri=server.uri)
    for page in range(8):    # read-ahead is under way behind the last
        reader.get(page * PAGE)
    writer.ask("fill", 1)
    writer.ask("flush")
    reader.ask("refresh")
    assert reader.number("verify", 1, 0, 64 * PAGE) == 0


# ---- memory servers ----

def test_a_memory_server_holds_a_region(clients, servers):
    server = servers()
    uri = server.uri(server.open(size=SIZE))
    for kind in (1, 3):
        writer, reader = clients(), clients()
        writer.open(kind=kind, flags=WRITE, uri=uri)
        writer.ask("fill", kind)
        writer.ask("close")
        reader.open(kind=kind, uri=uri)
        assert reader.number("verify", kind) == 0


def test_a_late_store_is_refused_after_the_space_was_granted_anew(clients, servers):
    server = servers()
    capability = server.open(size=SIZE)
    writers = {kind: clients() for kind in (1, 3)}
    for kind, writer in writers.items():
        writer.open(kind=kind, flags=WRITE, uri=server.uri(capability), deadline=2000)
        writer.ask("put", 0, kind)
        writer.ask("flush")
    granted = server.grant(2, **name())
    for writer in writers.values():
        writer.ask("put", 0, 99)
        assert writer.fails("flush")[0] != 0
    assert at_server(server.uri(granted), 0) == 3


# ---- where a region is ----

def test_a_program_needs_no_configuration_of_its_own(clients, nbdkit, tmp_path):
    server = memory(nbdkit)
    entry = {"name": "orders", "size": SIZE, "kind": 3, "write": True, "write-back-ms": 20, "uri": server.uri}
    fd = region_list(entry, {"name": "stock", "size": PAGE, "kind": 1, "uri": server.uri})
    client = clients(fds=[fd], FAILOVER_REGIONS_FD=str(fd))
    client.open(flags=WRITE)
    assert client.number("size") == SIZE
    client.ask("put", 0, 5)
    until(lambda: at_server(server.uri, 0) == 5, SECONDS, "it has come")
    client.ask("close")
    assert client.fails("open", "stock", flags=WRITE)[0] == errno.EPERM
    client.open("stock")
    assert client.number("size") == PAGE
    client.ask("close")
    (tmp_path / "failover-regions").write_text(json.dumps({"failover-regions": 1, "regions": [entry]}))
    other = clients(CREDENTIALS_DIRECTORY=str(tmp_path))
    other.open()
    assert other.get(0) == 5


@pytest.mark.parametrize("way", ["uri", "list", "name"])
@pytest.mark.parametrize("kind", [1, 2, 3, 4])
def test_each_kind_is_had_in_each_way(clients, nbdkit, names, kind, way):
    server, resolver = nbdkit(*PATTERN), names()
    resolver.known["orders"] = {"name": "orders", "uri": server.uri, "size": SIZE}
    fd = region_list({"name": "orders", "size": SIZE, "kind": kind, "uri": server.uri})
    client = clients(fds=[fd], FAILOVER_REGIONS_FD=str(fd)) if way == "list" else clients()
    client.open(**{"uri": {"kind": kind, "uri": server.uri}, "list": {},
                   "name": {"kind": kind, "names": resolver.path}}[way])
    for offset in range(0, SIZE, SIZE // 64):
        assert client.get(offset) == int.from_bytes(offset.to_bytes(8, "big"), "little")
    statistics = client.statistics()
    assert statistics["channels"] == 1 and (statistics["faults"] == 0) == (kind >= 3)


@pytest.mark.parametrize("kind", [1, 2])
def test_a_configured_region_is_set_up_at_its_first_access(clients, nbdkit, kind):
    server = nbdkit(*PATTERN)
    fd = region_list({"name": "orders", "size": SIZE, "kind": kind, "uri": server.uri})
    client = clients(fds=[fd], FAILOVER_REGIONS_FD=str(fd))
    client.open(flags=LAZY)
    assert client.statistics()["channels"] == 0
    assert client.get(PAGE) == int.from_bytes(PAGE.to_bytes(8, "big"), "little")
    assert client.statistics()["channels"] == 1


def test_a_name_is_asked_for_at_set_up_or_at_the_first_access(clients, nbdkit, names):
    server, resolver, client = nbdkit(*PATTERN), names(), clients()
    resolver.known["orders"] = {"name": "orders", "uri": server.uri, "size": SIZE}
    client.open(names=resolver.path)
    assert resolver.asked == ["orders"] and client.number("size") == SIZE
    client.ask("close")
    client.open(names=resolver.path, flags=LAZY, size=SIZE)
    assert resolver.asked == ["orders"]
    assert client.get(PAGE) == int.from_bytes(PAGE.to_bytes(8, "big"), "little")
    assert resolver.asked == ["orders"] * 2


def test_a_name_that_nobody_has_is_an_error_and_no_wait(clients, names):
    resolver, client = names(), clients()
    what, text = client.fails("open", "nobody", names=resolver.path)
    assert what == errno.ENOENT and "nobody has that name" in text
    client.open("nobody", names=resolver.path, flags=LAZY, size=SIZE, deadline=300000)
    assert client.fails("get", 0)[0] == "bus"
    assert client.fails("open", "nobody", names="/nonexistent")[0] == errno.ENOENT


def test_an_owner_that_moved_is_found_again(clients, nbdkit, names):
    first, second, resolver, client = nbdkit(*PATTERN), nbdkit(*PATTERN), names(), clients()
    resolver.known["orders"] = {"name": "orders", "uri": first.uri, "size": SIZE}
    client.open(names=resolver.path)
    assert client.get(0) == 0
    resolver.known["orders"]["uri"] = second.uri
    first.kill()
    assert client.get(PAGE) == int.from_bytes(PAGE.to_bytes(8, "big"), "little")
