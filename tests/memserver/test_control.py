# SPDX-License-Identifier: LGPL-2.1-or-later
"""The control socket: who may ask, what is no request, and what is told."""
import errno
import json
import os
import socket
import subprocess
import sys
import threading

import nbd
import pytest
from server import MIB, PAGE, Control, Refused, name, page
from test_regions_granted import grant, region
from testbed.wait import until

CONVERSATIONS = 128    # at once (failover-memserver(8))

NOT_A_REQUEST = [
    b"",
    b"nonsense",
    b"[]",
    b"{}",
    b"{" * 1000,
    b'{"version":1}',
    b'{"version":1,"id":1}',
    b'{"version":1,"id":1,"call":7}',
    b'{"version":1,"id":1,"call":"explode"}',
    b'{"version":2,"id":1,"call":"load"}',
    b'{"version":1,"id":-1,"call":"load"}',
    b'{"version":1,"id":1,"id":2,"call":"load"}',
    b'{"version":1,"id":99999999999999999999,"call":"load"}',
    b'{"version":1,"id":1,"call":"open"}',
    b'{"version":1,"id":1,"call":"open","node":"n","owner":"o","space":"s","size_bytes":-4096,"token":1}',
    b'{"version":1,"id":1,"call":"open","node":"n/1","owner":"o","space":"s","size_bytes":4096,"token":1}',
    b'{"version":1,"id":1,"call":"open","node":"","owner":"o","space":"s","size_bytes":4096,"token":1}',
    b'{"version":1,"id":1,"call":"open","node":"n","owner":"o\\u0000x","space":"s","size_bytes":4096,"token":1}',
    b'{"version":1,"id":1,"call":"open","node":"' + b"n" * 64 +
    b'","owner":"o","space":"s","size_bytes":4096,"token":1}',
    b'{"version":1,"id":1,"call":"open","node":"n","owner":"o","space":"s","size_bytes":4095,"token":1}',
    b'{"version":1,"id":1,"call":"open","node":"n","owner":"o","space":"s","size_bytes":0,"token":1}',
    b'{"version":1,"id":1,"call":"open","node":"n","owner":"o","space":"s","size_bytes":4096,"token":1,"role":"king"}',
    b'\xff\xfe{"version":1,"id":1,"call":"load"}',
]


@pytest.mark.parametrize("line", NOT_A_REQUEST, ids=lambda line: line[:60].decode(errors="replace") or "empty")
def test_what_is_no_request_is_refused_and_the_next_one_answered(server, line):
    server.control.say(line + b"\n")
    answer = server.control.hear()
    assert answer["result"] < 0 and answer["text"]
    assert server.load()["spaces"] == 0


def test_a_line_that_is_too_long_costs_nothing_but_itself(server):
    other = Control(server.control_path)
    server.control.say(b"{" + b" " * (1 << 20))
    assert server.control.hear()["result"] == -errno.E2BIG
    assert other.ask("load")
    server.control.say(b"\n")
    assert server.load()


def test_half_a_line_holds_nobody_up(server):
    halves = [Control(server.control_path) for _ in range(8)]
    for half in halves:
        half.say(b'{"version":1,')
    assert server.load()
    for half in halves:
        half.close()


def talk_to(server):
    """A conversation once there is room, with those who have hung up having been let go."""
    def asked():
        try:
            talk = Control(server.control_path)
            return talk.ask("load") and talk
        except (AssertionError, OSError):
            return None

    return until(asked, 30, "a place is free")


def test_too_many_conversations_are_turned_away_and_places_come_free(server):
    talks = [talk_to(server) for _ in range(CONVERSATIONS - 1)]    # with the server's own
    late = Control(server.control_path)
    answer = late.hear()
    assert answer["result"] == -errno.EAGAIN and "ask again" in answer["text"]
    assert late.hear() is None
    answer = grant(2, region(server, lost="start"))
    assert answer.errno == errno.EAGAIN, answer.text    # and not started without a region that is there
    talks.pop().close()
    talk_to(server)


def test_a_space_whose_save_waits_is_told_of_and_keeps_no_place(servers):
    server, other = servers(), servers()
    handle = server.connect(server.open())
    server.mirror(other, deadline=600)
    server.until_mirror("complete")
    other.stop()
    save = handle.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(page(1))), 0)
    until(lambda: server.space()["held_bytes"], 30, "it is under way")
    try:
        for token in range(2, CONVERSATIONS + 2):    # each has enough of it before the save ends
            talk = talk_to(server)
            talk.send("grant", token=token, **name())
            talk.close()
        assert server.space()["token"] == 1
        talks = [talk_to(server) for _ in range(CONVERSATIONS - 2)]
        assert talks[0].ask("spaces")[0]["token"] == 1
    finally:
        other.go_on()
    until(lambda: handle.poll(100) >= 0 and handle.aio_command_completed(save), 30, "the save ends")
    assert server.space()["token"] == 1


def test_who_does_not_read_does_not_stop_the_server(server):
    deaf = Control(server.control_path)
    deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    deaf.socket.settimeout(0.2)
    for number in range(50):
        server.open(space=f"s{number}")
    try:
        while True:
            deaf.send("spaces")
    except OSError:
        pass
    assert len(server.ask("spaces")) == 50


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
def test_another_user_is_not_served(server):
    os.chmod(server.dir, 0o755)
    code = """
import os, socket, sys
os.setuid(65534)
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
try:
    s.sendall(b'{"version":1,"id":1,"call":"load"}\\n')
    sys.exit(len(s.recv(100)) > 0)
except (BrokenPipeError, ConnectionResetError):
    pass
"""
    assert subprocess.run([sys.executable, "-c", code, server.control_path], timeout=30).returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
def test_a_user_of_the_configuration_is_served(servers):
    server = servers("16MiB", "control-user=nobody")
    os.chmod(server.dir, 0o755)
    code = """
import os, socket, sys
os.setuid(65534)
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(b'{"version":1,"id":1,"call":"load"}\\n')
sys.exit(b'"load"' not in s.recv(1000))
"""
    assert subprocess.run([sys.executable, "-c", code, server.control_path], timeout=30).returncode == 0


def test_a_space_is_opened_once(server):
    server.open()
    with pytest.raises(Refused) as refused:
        server.open()
    assert refused.value.errno == errno.EEXIST and "n1/vm1/swap" in refused.value.text


def test_what_is_not_there_cannot_be_granted_or_dropped(server):
    for call in (server.grant, server.drop):
        with pytest.raises(Refused) as refused:
            call(token=9)
        assert refused.value.errno == errno.ENOENT


def test_a_server_that_is_being_drained_takes_no_new_space(server):
    handle = server.connect(server.open())
    server.ask("drain", on=True)
    assert server.load()["draining"]
    with pytest.raises(Refused) as refused:
        server.open(owner="vm2")
    assert refused.value.errno == errno.ESHUTDOWN
    handle.pwrite(page(1), 0)
    server.ask("drain", on=False)
    server.open(owner="vm2")


def test_a_client_is_metered_over_its_spaces_and_after_them(server):
    one, two = (server.connect(server.open(space=space)) for space in ("a", "b"))
    server.connect(server.open(owner="vm2")).pwrite(page(1), 0)
    one.pwrite(page(1) * 3, 0)
    one.pwrite(b"xy", PAGE - 1)    # touches two pages
    two.pwrite(page(1), 0)
    two.pread(PAGE * 2, 0)
    two.pread(100, 50)
    wanted = {"saved_bytes": 4 * PAGE + 2, "saved_pages": 6, "returned_bytes": 2 * PAGE + 100, "returned_pages": 3}
    for since in ({}, {"since_usec": 60 * 10**6}, {"since_usec": 86400 * 10**6}):
        told = server.ask("clients", owner="vm1", **since)[0]
        assert {key: told[key] for key in wanted} == wanted
        assert 0 < told["span_usec"] <= 120 * 10**6
    for space in ("a", "b"):
        server.drop(space=space)
    told = server.ask("clients", owner="vm1")[0]
    assert {key: told[key] for key in wanted} == wanted and told["held_bytes"] == 0
    assert len(server.ask("clients")) == 2


def test_watchers_are_told_what_happens_and_what_they_missed(server):
    watcher = Control(server.control_path)
    watcher.send("watch", after=server.load()["latest_event"])
    server.open()
    server.grant(token=2)
    server.drop(token=2)
    kinds = [watcher.hear()["event"] for _ in range(3)]
    assert [event["kind"] for event in kinds] == ["opened", "granted", "dropped"]
    assert all(event["node"] == "n1" and event["space"] == "swap" for event in kinds)
    numbers = [event["number"] for event in kinds]
    assert numbers == list(range(numbers[0], numbers[0] + 3))
    late = Control(server.control_path)
    late.send("watch", after=numbers[1])
    assert late.hear()["event"]["number"] == numbers[2]


def test_many_may_open_and_drop_at_once(server):
    wrong = []

    def work(number):
        control = Control(server.control_path)
        for turn in range(30):
            try:
                space = name(owner=f"vm{number % 3}", space=f"s{turn % 2}")
                control.ask("open", size_bytes=MIB, token=1, **space)
                control.ask("grant", token=2, **space)
                control.ask("drop", token=2, **space)
            except Refused as refused:
                if refused.errno not in (errno.EEXIST, errno.ENOENT, errno.ESTALE):
                    wrong.append(refused)
        control.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    for space in server.ask("spaces"):
        server.drop(token=9, node=space["node"], owner=space["owner"], space=space["space"])
    load = server.load()
    assert (load["spaces"], load["memory_used_bytes"]) == (0, 0)


def test_a_server_that_was_killed_leaves_nothing_in_the_way(server):
    capability = server.open()
    server.connect(capability).pwrite(page(1), 0)
    server.kill()
    server.start()
    assert server.ask("spaces") == [] and json.dumps(server.load())
