# SPDX-License-Identifier: LGPL-2.1-or-later
"""Spaces that are on disk too."""
import errno
import os
import signal
import subprocess

import nbd
import pytest
from relay import Relay
from server import MIB, PAGE, Refused, name, page
from test_epochs import flushing
from testbed.wait import until
from writer import Writer


@pytest.fixture
def disk(tmp_path):
    """The parameter that puts a server's spaces into one directory, which outlives it."""
    (tmp_path / "spaces").mkdir()
    return f"persist={tmp_path}/spaces"


def restart(server):
    server.kill()
    os.unlink(server.socket)    # nbdkit's own matter
    server.start()


def test_both_servers_lose_power_and_the_mirror_comes_back_from_disk(servers, disk):
    primary, keeper = servers(), servers("64MiB", disk)
    capability = primary.open()
    primary.mirror(keeper, deadline=5.0, opened={"persist": True})
    primary.until_mirror("complete")
    writers = [Writer(primary, capability, 512 * i, 512, i) for i in range(3)]
    for writer in writers:
        writer.start()
    primary.connect(capability).pwrite(os.urandom(4 * MIB), 8 * MIB)
    handle = primary.connect(capability)
    handle.trim(MIB, 8 * MIB)
    for writer in writers:
        writer.finish()
        assert writer.error is None
    handle.flush()
    wanted, held = handle.pread(16 * MIB, 0), primary.space()["held_bytes"]
    primary.kill()
    restart(keeper)
    told = keeper.space()
    assert told["held_bytes"] == held and told["role"] == "mirror" and told["persist"]
    assert "from disk" in told["text"]
    with pytest.raises(Refused) as refused:
        keeper.promote(token=2, lost_usec=0)
    assert refused.value.errno == errno.ESTALE and "force" in refused.value.text
    new = keeper.connect(keeper.promote(token=2, force=True))
    assert new.pread(16 * MIB, 0) == wanted
    new.pwrite(page(1, "new"), PAGE)
    restart(keeper)
    assert keeper.space()["token"] == 2
    assert keeper.connect(keeper.promote(token=3, force=True)).pread(PAGE, PAGE) == page(1, "new")


def test_a_copy_that_was_being_filled_says_so_when_it_comes_back(servers, disk):
    primary, keeper = servers(), servers("64MiB", disk)
    handle = primary.connect(primary.open())
    handle.pwrite(os.urandom(8 * MIB), 0)
    primary.mirror(keeper, rate_bytes=MIB, opened={"persist": True})
    primary.until_mirror("filling")
    restart(keeper)
    with pytest.raises(Refused) as refused:
        keeper.promote(token=2, lost_usec=0)
    assert "missing" in refused.value.text
    # Its primary takes it up again, by a new grant.
    primary.ask("unmirror", **name())
    primary.ask("mirror", uri=keeper.uri(keeper.grant(token=1 + keeper.space()["token"])), **name())
    primary.until_mirror("complete")
    assert keeper.space()["held_bytes"] == 8 * MIB and not keeper.space().get("text")


def test_a_dropped_space_leaves_nothing_on_disk(servers, disk):
    server = servers("64MiB", disk)
    handle = server.connect(server.open(persist=True))
    handle.pwrite(os.urandom(MIB), 0)
    directory = disk.split("=")[1]
    assert len(os.listdir(directory)) == 2
    assert all(os.stat(f"{directory}/{file}").st_mode & 0o777 == 0o600 for file in os.listdir(directory))
    server.drop()
    assert os.listdir(directory) == []
    server.open(persist=True)


def test_a_space_is_on_disk_only_where_it_was_asked_for(servers, disk):
    server = servers("64MiB", disk)
    server.connect(server.open()).pwrite(page(1), 0)
    assert os.listdir(disk.split("=")[1]) == []
    with pytest.raises(Refused) as nowhere:
        servers().open(persist=True)
    assert nowhere.value.errno == errno.EOPNOTSUPP


def test_what_is_no_space_on_disk_is_left_alone_and_named(servers, disk, tmp_path):
    server = servers("64MiB", disk)
    for owner in ("vm1", "vm2", "vm3", "vm4"):
        server.connect(server.open(owner=owner, persist=True)).pwrite(page(owner), 0)
    spaces = tmp_path / "spaces"
    os.truncate(spaces / "n1,vm2,swap.label", 100)
    os.truncate(spaces / "n1,vm3,swap.pages", MIB)
    for ending in ("label", "pages"):    # another client's name
        os.rename(spaces / f"n1,vm4,swap.{ending}", spaces / f"n1,vm5,swap.{ending}")
    (spaces / "notes.txt").write_text("mine")
    restart(server)
    assert [space["owner"] for space in server.ask("spaces")] == ["vm1"]
    assert "left alone" in server.log()
    assert len(os.listdir(spaces)) == 9


def test_a_space_that_memory_is_too_small_for_stays_on_disk(servers, disk):
    large = servers("64MiB", disk)
    handle = large.connect(large.open(size=32 * MIB, persist=True))
    data = os.urandom(32 * MIB)
    handle.pwrite(data, 0)
    large.kill()
    small = servers("16MiB", disk)
    assert small.ask("spaces") == [] and small.load()["memory_used_bytes"] == 0
    small.kill()
    again = servers("64MiB", disk)
    assert again.connect(again.promote(token=2, force=True)).pread(32 * MIB, 0) == data


def mounted(place, *options):
    """A file system of the test's own, as the parameter that puts spaces there."""
    if os.geteuid() != 0:
        pytest.skip("mounting a disk takes root")
    place.mkdir()
    done = subprocess.run(["mount", *options, "none", str(place)], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"a disk cannot be mounted: {done.stderr.strip()}")
    yield f"persist={place}"
    subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def small_disk(tmp_path):
    yield from mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=2m")


@pytest.fixture
def disk_without_holes(tmp_path):
    """Where a file keeps the room that it once took: a trim fails."""
    yield from mounted(tmp_path / "plain", "-t", "ramfs")


def test_a_full_disk_is_gone_on_without(small_disk, servers):
    primary, keeper = servers(), servers("64MiB", small_disk)
    handle = primary.connect(primary.open())
    primary.mirror(keeper, deadline=0.4, opened={"persist": True})
    primary.until_mirror("complete")
    data = os.urandom(8 * MIB)
    for at in range(0, len(data), MIB):
        handle.pwrite(data[at:at + MIB], at)
    assert handle.pread(len(data), 0) == data
    assert "alone" in primary.events()
    primary.kill()
    with pytest.raises(Refused):
        keeper.promote(token=2, lost_usec=0)
    keeper.process.send_signal(signal.SIGKILL)
    keeper.process.wait()


def test_a_full_disk_is_an_error_to_who_wanted_it_there(small_disk, servers):
    server = servers("64MiB", small_disk)
    handle = server.connect(server.open(persist=True))
    with pytest.raises(nbd.Error) as full:
        handle.pwrite(os.urandom(8 * MIB), 0)
    assert full.value.errnum == errno.ENOSPC
    handle.trim(16 * MIB, 0)
    handle.pwrite(page(1), 0)
    assert handle.pread(PAGE, 0) == page(1)
    server.kill()


def test_an_epoch_that_a_full_disk_refuses_has_happened_nowhere(small_disk, servers):
    """Neither at the mirror nor in half on disk, also when a later epoch has gone through."""
    primary, keeper = servers("64MiB", small_disk), servers()
    capability = primary.open(persist=True)
    writer, reader = primary.connect(capability + ".epoch"), primary.connect(capability)

    def versions(handle, pages):
        contents = ((n, handle.pread(PAGE, n * PAGE)) for n in pages)
        return {next((v for v in ("old", "new") if data == page(n, v)), "neither") if any(data) else "zeroes"
                for n, data in contents}

    for number in range(100):
        writer.pwrite(page(number, "old"), number * PAGE)
    writer.flush()
    primary.mirror(keeper)
    primary.until_mirror("complete")
    new = [*range(60), *range(200, 800)]    # more than is free
    for number in new:
        writer.pwrite(page(number, "new"), number * PAGE)
    with pytest.raises(nbd.Error) as full:
        writer.flush()
    assert full.value.errnum == errno.ENOSPC
    writer.shutdown()
    assert versions(reader, new) == {"old", "zeroes"} and primary.space()["epochs"] == 1
    assert "epochs" not in keeper.space()    # filled after the first one
    again = primary.connect(primary.grant(token=2) + ".epoch")
    again.pwrite(page(1000, "later"), 1000 * PAGE)
    again.flush()
    assert primary.space()["epochs"] == 2 and primary.space()["mirror"] == "complete"
    restart(primary)
    told = primary.promote(token=4, force=True)
    on_disk = primary.connect(told)
    assert versions(on_disk, range(60)) == {"old"} and versions(on_disk, range(200, 800)) == {"zeroes"}
    assert on_disk.pread(PAGE, 1000 * PAGE) == page(1000, "later")
    at_mirror = keeper.connect(keeper.promote(token=3, force=True))
    assert versions(at_mirror, range(60)) == {"old"} and versions(at_mirror, range(200, 800)) == {"zeroes"}
    assert at_mirror.pread(PAGE, 1000 * PAGE) == page(1000, "later")
    primary.kill()


def test_a_trim_that_the_disk_refuses_leaves_the_mirror_with_the_same(disk_without_holes, servers):
    primary, keeper = servers("64MiB", disk_without_holes), servers()
    handle = primary.connect(primary.open(persist=True))
    primary.mirror(keeper)
    primary.until_mirror("complete")
    pages = range(600)
    for number in pages:
        handle.pwrite(page(number), number * PAGE)
    with pytest.raises(nbd.Error):
        handle.trim(500 * PAGE, 0)
    here = handle.pread(600 * PAGE, 0)
    primary.kill()
    there = keeper.connect(keeper.promote(token=2, force=True)).pread(600 * PAGE, 0)
    assert here == there and there[500 * PAGE:] == b"".join(page(n) for n in pages[500:])


def test_an_epoch_goes_to_a_mirrors_disk_in_parts(servers, disk, tmp_path):
    """Between them it can answer its primary, however long its disk takes for all of it. A flush in between takes back
    what is there, and at the end all of it is there."""
    primary, keeper = servers(), servers("64MiB", disk)
    relay = Relay(primary.path("relay"), keeper.socket)
    capability = primary.open()
    at_mirror = primary.mirror(keeper, uri=relay.uri, deadline=600, opened={"persist": True})
    primary.until_mirror("complete")
    writer, data, part = primary.connect(capability + ".epoch"), os.urandom(12 * MIB), 4 * MIB
    for at in range(0, len(data), MIB):
        writer.pwrite(data[at:at + MIB], at)
    file, header, piece = tmp_path / "spaces/n1,vm1,swap.pages", 28, 256 * 1024
    # What begins it, all of it, and two pages that have a part put on disk, one of which may be a sign of life.
    relay.budget = 3 * (PAGE + header) + len(data) // piece * (piece + header)
    thread, result = flushing(writer)
    until(lambda: file.read_bytes()[:part] == data[:part], 60, "the first part is on disk")
    assert not any(file.read_bytes()[2 * part:]) and "epochs" not in keeper.space()
    keeper.connect(at_mirror).flush()
    relay.budget = None
    thread.join()
    assert result == [0] and keeper.space()["epochs"] == 1 and primary.space()["mirror"] == "complete"
    assert file.read_bytes()[:len(data)] == data
    relay.close()
    primary.kill()
    restart(keeper)
    assert keeper.connect(keeper.promote(token=2, force=True)).pread(len(data), 0) == data
