# SPDX-License-Identifier: LGPL-2.1-or-later
"""A pager over two memory servers: what was acknowledged is there while one of them is, and clients that others wrote
notice nothing but the time it takes."""
import errno
import fcntl
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import nbd
import pytest
from relay import Relay
from server import MIB, PAGE, SECONDS, page, run
from testbed.wait import until
from test_clients import digest
from writer import Writer, write_more

IPC_LOCK = 14      # its capability
DEADLINE = "2s"    # where a server is to be given up


def mirrored(servers, pagers, n=2, memory="64MiB", **options):
    """A pager, its primary, its mirror, and what further servers there are."""
    all_servers = [servers(memory) for _ in range(n)]
    pager = pagers(all_servers, **options)
    pager.until_mirrored(*all_servers[:2])
    return pager, *all_servers


def writers_at(pager, n=3, pages=512):
    writers = [Writer(pager, None, pages * i, pages, i) for i in range(n)]
    for writer in writers:
        writer.start()
    return writers


def finish(pager, writers):
    handle = pager.connect()
    for writer in writers:
        writer.finish()
        assert writer.error is None
        writer.check(handle)


def test_nbdinfo_describes_a_pager(servers, pagers):
    pager, *_ = mirrored(servers, pagers)
    told = run("nbdinfo", pager.uri)
    assert "export-size: 16777216" in told
    for can in ("can_trim: true", "can_zero: true", "can_fast_zero: true", "can_flush: true", "can_fua: true",
                "can_multi_conn: true"):
        assert can in told


def test_what_nbdcopy_copies_in_it_copies_out_while_the_primary_is_killed(servers, pagers, tmp_path):
    pager, primary, keeper = mirrored(servers, pagers, size="48MiB", memory="96MiB")
    with open(tmp_path / "in", "wb") as f:
        f.truncate(48 * MIB)
        for at in range(0, 48, 4):    # half of it holes
            f.seek(at * MIB)
            f.write(os.urandom(2 * MIB + 100))
    copy = subprocess.Popen(["nbdcopy", str(tmp_path / "in"), pager.uri])
    until(lambda: keeper.space()["held_bytes"] > 4 * MIB, 30, "it is under way")
    primary.kill()
    assert copy.wait(60) == 0
    run("nbdcopy", pager.uri, str(tmp_path / "out"))
    assert digest(tmp_path / "in") == digest(tmp_path / "out")
    assert os.stat(tmp_path / "out").st_blocks * 512 < 40 * MIB    # holes were told as such
    pager.until(takeovers=1, primary=keeper.control_path, lost_bytes=0)


def test_qemu_io_writes_discards_and_reads(servers, pagers):
    pager, *_ = mirrored(servers, pagers)
    done = run("qemu-io", "-f", "raw", "-c", "write -P 7 1000 70000", "-c", "read -P 7 1000 70000",
               "-c", "read -P 0 0 1000", "-c", "discard 4k 8k", "-c", "read -P 0 4k 8k", "-c", "read -P 7 12k 4k",
               "-c", "write -z 12k 4k", "-c", "read -P 0 12k 4k", "-c", "writev -P 3 1M 4k 8k 512",
               "-c", "read -P 3 1M 12800", "-c", "flush", "-c", "aio_write -P 9 2M 1M", "-c", "aio_flush",
               "-c", "read -P 9 2M 1M", "-c", "discard 0 16M", "-c", "read -P 0 0 16M", pager.uri)
    assert "failed" not in done and "error" not in done.lower()
    pager.until(held_bytes=0)


@pytest.mark.parametrize("fault", ["killed", "stalled"])
def test_fio_verifies_what_it_wrote_while_the_primary_is(fault, servers, pagers):
    pager, primary, keeper = mirrored(servers, pagers, size="64MiB", memory="96MiB", deadline=DEADLINE)
    fio = subprocess.Popen(["fio", "--name=verify", "--ioengine=nbd", f"--uri={pager.uri}", "--rw=randrw",
                            "--bsrange=4k-64k", "--iodepth=16", "--size=16M", "--offset_increment=16M", "--numjobs=4",
                            "--verify=crc32c", "--verify_fatal=1", "--randseed=7", "--thread",
                            "--verify_state_save=0"], stdout=subprocess.DEVNULL)
    until(lambda: keeper.space()["held_bytes"] > 2 * MIB, 30, "it is under way")
    assert fio.poll() is None
    if fault == "killed":
        primary.kill()
    else:
        primary.stop()
    assert fio.wait(120) == 0
    pager.until(takeovers=1, primary=keeper.control_path, lost_bytes=0)
    if fault == "stalled":
        primary.go_on()


def test_each_primary_is_killed_in_turn_and_its_server_comes_back(servers, pagers):
    """A server that was killed starts empty, and becomes the mirror of the one that took over."""
    pager, one, other = mirrored(servers, pagers)
    writers = writers_at(pager)
    for _ in range(3):
        write_more(writers)
        one.kill()
        one.start()
        one, other = other, one
        pager.until_mirrored(one, other)
    write_more(writers)
    finish(pager, writers)
    pager.until(takeovers=3, lost_bytes=0)


def test_a_stalled_primary_that_wakes_is_given_nothing_any_more(servers, pagers):
    pager, primary, keeper = mirrored(servers, pagers, deadline=DEADLINE)
    writers = writers_at(pager)
    write_more(writers)
    primary.stop()
    write_more(writers)
    primary.go_on()
    pager.until_mirrored(keeper, primary)    # what it had is dropped, and it is filled anew
    write_more(writers)
    keeper.kill()
    write_more(writers)
    finish(pager, writers)


def test_first_answer_of_the_mirror_comes_soon_after_the_deadline(servers, pagers):
    pager, primary, keeper = mirrored(servers, pagers, deadline="1s")
    handle = pager.connect()
    handle.pwrite(page(1), PAGE)
    primary.stop()
    began = time.monotonic()
    assert handle.pread(PAGE, PAGE) == page(1)
    print(f"stalled: {time.monotonic() - began:.3f} s of deadline 1 s")
    primary.go_on()


def test_a_third_server_becomes_the_mirror_where_one_is_gone(servers, pagers):
    pager, primary, keeper, third = mirrored(servers, pagers, n=3)
    handle = pager.connect()
    handle.pwrite(page(1), PAGE)
    primary.kill()
    assert handle.pread(PAGE, PAGE) == page(1)
    pager.until_mirrored(keeper, third)
    keeper.kill()
    assert handle.pread(PAGE, PAGE) == page(1)
    pager.until(takeovers=2, primary=third.control_path)
    lost = ["waiting", "taken-over"]
    assert [e for e in pager.events() if e != "alone"] == ["opened", "mirrored", *lost, "mirrored", *lost]


def test_when_both_are_gone_exactly_the_pages_that_were_there_are_errors(servers, pagers):
    pager, primary, keeper = mirrored(servers, pagers, patience="200ms")
    handle = pager.connect()
    for number in (3, 4, 8):
        handle.pwrite(page(number), number * PAGE)
    handle.trim(PAGE, 4 * PAGE)
    primary.kill()
    keeper.kill()
    with pytest.raises(nbd.Error) as lost:
        handle.pread(PAGE, 3 * PAGE)
    assert lost.value.errnum == errno.EIO
    pager.until(state="down", lost=[{"offset": 3 * PAGE, "length": PAGE}, {"offset": 8 * PAGE, "length": PAGE}])
    for number in (0, 4, 7, 9):    # never there, or there no more
        assert handle.pread(PAGE, number * PAGE) == bytes(PAGE)
    with pytest.raises(nbd.Error):
        handle.pwrite(page(1), PAGE)
    primary.start()
    pager.until(state="serving", primary=primary.control_path)
    handle.pwrite(page(3, "new"), 3 * PAGE)
    handle.pwrite(page(1), PAGE)
    assert handle.pread(PAGE, 3 * PAGE) == page(3, "new") and handle.pread(PAGE, PAGE) == page(1)
    for what in (lambda: handle.pread(PAGE, 8 * PAGE), lambda: handle.pwrite(b"part", 8 * PAGE)):
        with pytest.raises(nbd.Error) as lost:
            what()
        assert lost.value.errnum == errno.EIO
    pager.until(lost_bytes=PAGE)
    assert pager.events()[-3:] == ["pages-lost", "no-server", "opened"]


def test_a_mirror_that_may_lack_pages_is_never_read(servers, pagers):
    """The mirror had been given up for its silence when the primary died."""
    pager, primary, keeper = mirrored(servers, pagers, deadline=DEADLINE, patience="500ms")
    handle = pager.connect()
    handle.pwrite(page(1, "old"), PAGE)
    keeper.stop()
    handle.pwrite(page(1, "new"), PAGE)
    primary.kill()
    keeper.go_on()
    with pytest.raises(nbd.Error) as lost:
        handle.pread(PAGE, PAGE)
    assert lost.value.errnum == errno.EIO


@pytest.fixture
def over_relay(servers):
    """A server whose NBD socket, not its control socket, is reached over a way that can be cut."""
    relays = []

    def start():
        server = servers()
        relays.append(Relay(server.path("relay"), server.socket))
        return server, relays[-1], SimpleNamespace(control_path=server.control_path, socket=relays[-1].path)

    yield start
    for relay in relays:
        relay.close()


def test_a_primary_that_went_alone_and_then_stalls_is_asked_again(servers, pagers, over_relay):
    """The mirror does not know that it was given up, and says so only when it is to be promoted."""
    primary, (keeper, relay, by_relay) = servers(), over_relay()
    pager = pagers([primary, by_relay], deadline=DEADLINE)
    pager.until_mirrored(primary, keeper)
    relay.open.clear()
    handle = pager.connect()
    handle.pwrite(page(1), PAGE)
    primary.until_mirror("connecting")
    primary.stop()
    with ThreadPoolExecutor() as pool:
        read = pool.submit(handle.pread, PAGE, PAGE)
        pager.until(state="recovering")
        primary.go_on()
        assert read.result() == page(1)
    pager.until(state="serving", primary=primary.control_path, takeovers=0, lost_bytes=0)


def test_a_mirror_that_was_promoted_and_cannot_be_reached_yet_keeps_its_pages(servers, pagers, over_relay):
    primary, (keeper, relay, by_relay) = servers(), over_relay()
    pager = pagers([primary, by_relay], deadline=DEADLINE)
    pager.until_mirrored(primary, keeper)
    handle = pager.connect()
    handle.pwrite(page(1), PAGE)
    pager.process.send_signal(signal.SIGSTOP)
    primary.kill()
    primary.start()    # empty: it has no such space
    os.rename(relay.path, f"{relay.path}.away")
    pager.process.send_signal(signal.SIGCONT)
    until(lambda: keeper.space()["role"] == "primary", 30, pager.log)
    os.rename(f"{relay.path}.away", relay.path)
    assert handle.pread(PAGE, PAGE) == page(1)
    pager.until(takeovers=1, primary=keeper.control_path, lost_bytes=0)


def test_a_mirror_whose_primary_cannot_be_seen_from_here_is_in_use(servers, pagers):
    pager, primary, keeper = mirrored(servers, pagers)
    handle = pager.connect()
    handle.pwrite(page(1), PAGE)
    unseen = SimpleNamespace(control_path=primary.path("nothing"), socket=primary.socket)
    second = pagers([unseen, keeper], start=False)
    assert second.process.wait(30) != 0 and "its primary is alive" in second.log()
    assert "dropped" not in keeper.events()


def test_no_space_stays_behind_at_a_server_that_was_left(servers, pagers):
    pager, primary, keeper, third = mirrored(servers, pagers, n=3, deadline=DEADLINE)
    handle = pager.connect()
    handle.pwrite(page(1), PAGE)
    primary.stop()
    assert handle.pread(PAGE, PAGE) == page(1)
    pager.until_mirrored(keeper, third)
    primary.go_on()
    assert len(primary.ask("spaces")) == 1
    handle.shutdown()
    pager.process.terminate()
    pager.process.wait(30)
    assert primary.ask("spaces") == keeper.ask("spaces") == third.ask("spaces") == []


SPACE = {"node": "n1", "owner": "vm1", "space": "swap", "role": "mirror", "size_bytes": 16 * MIB, "held_bytes": 0,
         "quota_bytes": 0, "token": 1, "connections": 0, "mirror": "none", "hand_over": "none", "filled_bytes": 0,
         "copy": "none", "persist": False}


@pytest.mark.parametrize("answer, says", [
    ([{"result": 5}], "malformed"),
    ([{"result": "0"}], "malformed"),
    ([{"space": {**SPACE, "owner": "vm2"}}, {"result": 0}], "malformed"),
    ([{"space": {**SPACE, "token": 2**64 - 1}}, {"result": 0}], "leaves no room"),
])
def test_an_answer_that_no_server_gives_is_refused(answer, says, pagers, tmp_path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "control"))
    listener.listen()
    pager = pagers([SimpleNamespace(control_path=str(tmp_path / "control"), socket=str(tmp_path / "nbd"))], start=False)
    listener.settimeout(0.05)
    while pager.process.poll() is None:
        try:
            connection = listener.accept()[0]
        except TimeoutError:
            continue
        with connection, connection.makefile("rb") as asked:
            asked.readline()
            lines = [json.dumps({"version": 1, "id": 1, **line}) + "\n" for line in answer]
            connection.sendall("".join(lines).encode())
    listener.close()
    assert pager.process.returncode != 0 and says in pager.log()


@pytest.fixture
def cut_off(servers):
    """Ways to servers, both sockets of each, that can all be cut at once."""
    relays = []

    def start(*those):
        paths = []
        for server in those:
            for kind in ("control", "nbd"):
                relays.append(Relay(server.path(f"{kind}-relay"), server.path(kind), keep=kind == "control"))
            paths.append(SimpleNamespace(control_path=relays[-2].path, socket=relays[-1].path))
        return relays, paths

    yield start
    for relay in relays:
        relay.close()


def test_a_pager_that_was_cut_off_leaves_the_space_of_its_successor_alone(servers, pagers, cut_off):
    primary, keeper = servers(), servers()
    relays, ways = cut_off(primary, keeper)
    first = pagers(ways, deadline=DEADLINE, patience="300ms")
    first.until_mirrored(*ways)
    handle = first.connect()
    handle.pwrite(page(1), PAGE)
    for relay in relays:
        relay.open.clear()
    with pytest.raises(nbd.Error):
        handle.pread(PAGE, PAGE)
    first.until(state="down")
    until(lambda: primary.space()["connections"] == 0, 30, "the server has noticed")
    second = pagers([primary, keeper], parameters=("return=remembered",))
    second.until_mirrored(primary, keeper)
    new = second.connect()
    new.pwrite(page(1, "new"), PAGE)
    for relay in relays:
        relay.open.set()
    first.until(state="fenced")
    assert new.pread(PAGE, PAGE) == page(1, "new")
    assert second.status()["lost_bytes"] == 0 and primary.events().count("granted") == 0


def test_the_primary_gives_a_silent_mirror_up_before_the_pager_gives_up_the_primary(servers, pagers, cut_off):
    primary, keeper = servers(), servers()
    relays, ways = cut_off(primary, keeper)
    pagers(ways, deadline="10s").until_mirrored(*ways)
    asked = [json.loads(line) for line in relays[0].passed.split(b"\n") if b'"uri"' in line]
    assert [call["deadline_usec"] for call in asked if call.get("call") == "mirror"] == [5 * 10**6]


def test_two_ways_to_one_server_are_no_two_servers(servers, pagers):
    server = servers()
    twice = pagers([server, server], start=False)
    assert twice.process.wait(30) != 0 and "named twice" in twice.log()
    link = server.path("link")
    os.symlink(server.control_path, link)
    pager = pagers([server, SimpleNamespace(control_path=link, socket=server.socket)])
    handle = pager.connect()
    handle.pwrite(page(1), PAGE)
    until(lambda: "the primary's own server" in pager.status()["text"], 30, lambda: repr(pager.status()))
    assert handle.pread(PAGE, PAGE) == page(1)
    assert server.events() == ["opened"]
    pager.until(state="serving", lost_bytes=0, takeovers=0)


def test_a_second_pager_does_not_take_the_space(servers, pagers):
    pager, primary, keeper = mirrored(servers, pagers)
    handle = pager.connect()
    handle.pwrite(page(1), PAGE)
    second = pagers([primary, keeper], start=False)
    assert second.process.wait(30) != 0 and "in use" in second.log()
    assert handle.pread(PAGE, PAGE) == page(1)
    other = pagers([primary, keeper], owner="vm2")
    other.until_mirrored(primary, keeper)
    assert other.connect().pread(PAGE, PAGE) == bytes(PAGE)


def lock_holder(path):
    """Process id of who has the record lock; 0: nobody."""
    with open(path) as f:
        asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack("hhqqi4x", fcntl.fcntl(f, fcntl.F_GETLK, asked))
    return 0 if kind == fcntl.F_UNLCK else pid


def test_a_pager_is_found_by_its_lock_and_says_how_many_clients_it_has(servers, pagers, tmp_path):
    alive = tmp_path / "alive"
    parameters = tmp_path / "parameters"
    parameters.write_text(f"alive={alive}\nconnections=2\n")
    server = servers("64MiB")
    pager = pagers([server], parameters=(f"parameters={parameters}",))
    assert lock_holder(alive) == pager.process.pid
    second = pagers([server], owner="vm2", parameters=(f"alive={alive}",), start=False)
    assert second.process.wait(30) != 0 and "another pager has it" in second.log()
    handle = pager.connect()
    pager.until(clients=1)
    handle.shutdown()
    pager.until(clients=0)
    pager.process.send_signal(signal.SIGKILL)
    pager.process.wait()
    assert lock_holder(alive) == 0


@pytest.mark.parametrize("text, says", [
    ("size\n", "no KEY=VALUE"), ("lock=perhaps\n", "perhaps"), ("lock=no", "no KEY=VALUE"),
    ("x=" + "y" * 2000 + "\n", "no KEY=VALUE"), ("parameters=/etc/hosts\n", "no other")])
def test_parameters_that_make_no_sense_are_refused(text, says, servers, pagers, tmp_path):
    parameters = tmp_path / "parameters"
    parameters.write_text(text)
    pager = pagers([servers("64MiB")], parameters=(f"parameters={parameters}",), start=False)
    assert pager.process.wait(30) != 0 and says in pager.log()


def test_a_pager_whose_space_was_given_to_another_is_fenced(servers, pagers):
    pager, primary, keeper = mirrored(servers, pagers)
    handle = pager.connect()
    handle.pwrite(page(1), PAGE)
    new = primary.connect(primary.grant(token=primary.space()["token"] + 10**9))
    with pytest.raises(nbd.Error) as fenced:
        handle.pwrite(page(1, "late"), PAGE)
    assert fenced.value.errnum == errno.EPERM
    pager.until(state="fenced")
    with pytest.raises(nbd.Error) as fenced:
        handle.pread(PAGE, 2 * PAGE)    # nobody's when it was ours
    assert fenced.value.errnum == errno.EPERM
    assert new.pread(PAGE, PAGE) == page(1)


def test_spaces_end_with_their_pager_and_are_begun_anew_after_its_death(servers, pagers):
    pager, primary, keeper = mirrored(servers, pagers)
    pager.connect().pwrite(page(1), PAGE)
    pager.process.send_signal(signal.SIGKILL)
    pager.process.wait()
    until(lambda: primary.space()["connections"] == 0, 30, "the server has noticed")
    again = pagers([primary, keeper], parameters=("return=remembered",))
    again.until_mirrored(primary, keeper)
    handle = again.connect()
    assert handle.pread(PAGE, PAGE) == bytes(PAGE)
    handle.pwrite(page(2), PAGE)
    handle.shutdown()
    again.process.terminate()
    again.process.wait(30)
    assert primary.ask("spaces") == [] == keeper.ask("spaces")


def test_bandwidth_is_kept(servers, pagers):
    pager, *_ = mirrored(servers, pagers, parameters=["bandwidth=8MiB"])
    handle = pager.connect()
    began = time.monotonic()
    for at in range(0, 8 * MIB, MIB):
        handle.pwrite(os.urandom(MIB), at)
    assert time.monotonic() - began > 0.7


def test_with_tls_a_pager_and_its_mirrored_servers_need_the_key(servers, pagers, tmp_path):
    keys, others = (str(tmp_path / name) for name in ("keys", "others"))
    for path in keys, others:
        run("psktool", "-u", "node1", "-p", path)
    encrypted = [servers("64MiB", f"peer-psk={keys}", nbdkit=("--tls=require", f"--tls-psk={keys}")) for _ in range(2)]
    pager = pagers(encrypted, parameters=(f"psk={keys}",), to="nbds+unix://node1@")
    pager.until_mirrored(*encrypted)
    handle = pager.connect()
    handle.pwrite(page(1), PAGE)
    for to, parameters in ("nbds+unix://node1@", (f"psk={others}",)), ("nbd+unix://", ()):
        stranger = pagers(encrypted, owner="vm2", parameters=parameters, start=False, to=to)
        assert stranger.process.wait(SECONDS) != 0 and stranger.status().get("state") != "serving", stranger.log()
    encrypted[0].kill()
    assert handle.pread(PAGE, PAGE) == page(1)


def test_a_full_server_says_so_and_nothing_that_it_took_is_gone(servers, pagers):
    pager, primary, keeper = mirrored(servers, pagers, memory="16MiB", size="32MiB")
    handle = pager.connect()
    with pytest.raises(nbd.Error) as full:
        for number in range(8192):
            handle.pwrite(page(number), number * PAGE)
    assert full.value.errnum == errno.ENOSPC
    for other in range(0, number, 100):
        assert handle.pread(PAGE, other * PAGE) == page(other)


def told_of(pid, key):
    """A line of what the kernel tells of a process."""
    with open(f"/proc/{pid}/status") as f:
        (value,) = [line.split()[1] for line in f if line.startswith(f"{key}:")]
    return value


def may_lock_memory():
    return bool(int(told_of("self", "CapEff"), 16) >> IPC_LOCK & 1) or \
        resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY


@pytest.mark.skipif(not may_lock_memory(), reason="this user may not lock all of a process here (RLIMIT_MEMLOCK)")
def test_pagers_and_servers_are_locked_in_memory(servers, pagers):
    """What a guest swaps to must not be swapped out itself."""
    server = servers("64MiB", "lock=yes")
    pager = pagers([server], parameters=("lock=yes", "mirror=no"))
    pager.until(state="serving")
    for process in server.process, pager.process:
        assert int(told_of(process.pid, "VmLck")) > 0


def test_pages_are_read_ahead_and_what_was_saved_since_is_not_had_from_there(servers, pagers):
    server = servers()
    pager = pagers([server])
    handle = pager.connect()
    for number in range(16):
        handle.pwrite(page(number), number * PAGE)
    for number in (1, 2):
        assert handle.pread(PAGE, number * PAGE) == page(number)
    server.stop()
    try:
        assert handle.pread(PAGE, 3 * PAGE) == page(3)
    finally:
        server.go_on()
    handle.pwrite(page(99), 4 * PAGE)
    handle.trim(PAGE, 5 * PAGE)
    assert handle.pread(3 * PAGE, 4 * PAGE) == page(99) + bytes(PAGE) + page(6)
    assert pager.status()["takeovers"] == 0
