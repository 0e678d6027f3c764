# SPDX-License-Identifier: LGPL-2.1-or-later
"""Servers are found by broadcast or through an arbitrator, and nobody else gets a word in."""
import os

import pytest
from discovery import PORT, ask, entries
from server import MIB, PAGE, page
from test_per_save import held
from testbed.wait import until


@pytest.fixture
def found(network, servers):
    """Starts servers that can be found."""
    def start(memory="64MiB", *parameters):
        return servers(memory, *network.at_servers(), *parameters, prefix=network.prefix)

    return start


def refused(server):
    return [line.split(" is refused: ")[1].split(";")[0] for line in server.log().splitlines() if "refused" in line]


def until_known(network, *servers):
    """The arbitrator has heard of all servers."""
    identities = {server.load()["identity"] for server in servers}
    until(lambda: any({one[0] for one in entries(answer)[0]} == identities for answer in
                      network.send(ask(int.from_bytes(os.urandom(8), "big"), identities, port=PORT + 1),
                                   port=PORT + 1)),
          30, "all servers are announced")


def test_a_server_answers_who_asks(network, found):
    server = found("64MiB")
    handle = server.connect(server.open())
    handle.pwrite(os.urandom(MIB), 0)
    answers = network.send(ask(1), answers=1)
    assert [entries(one) for one in answers] == [([(server.load()["identity"], 16384, 16384 - 256, 0, 1)], 0)]
    server.ask("drain", on=True)
    assert entries(network.send(ask(2), answers=1)[0])[0][0][4] == 0


def test_an_unwilling_server_may_stay_silent(network, found):
    server = found("64MiB", "discovery-silent=yes")
    assert len(network.send(ask(1), answers=1)) == 1
    server.ask("drain", on=True)
    assert network.send(ask(2)) == []


def test_strangers_copies_and_floods_are_refused_and_told_once(network, found):
    server = found()
    good = ask(1)
    assert len(network.send(good, answers=1)) == 1
    wrong = [ask(2, key=b"x" * 32), good, ask(3, at=0), ask(4) + b"x", b"", os.urandom(1200), ask(5)[:-1],
             ask(6, version=1), ask(7, range(1, 18)), ask(8, to="127.0.0.2"), ask(9, port=PORT + 1)]
    said = ["elsewhere", "malformed", "oversized", "replayed", "stale", "stranger", "version"]
    for _ in range(2):    # told once
        assert network.send(*wrong * 10) == []
        until(lambda: sorted(refused(server)) == said, 30, lambda: repr(refused(server)))

    def too_much():
        """More than a server takes of one sender, as long as it comes fast enough."""
        network.send(*(ask(int.from_bytes(os.urandom(8), "big")) for _ in range(1000)))
        return "flood" in refused(server)

    until(too_much, 60, "who says too much is refused")
    assert sorted(refused(server)) == sorted(["flood", *said])
    until(lambda: len(network.send(ask(int.from_bytes(os.urandom(8), "big")))) == 1, 30,
          "who said too much is heard again")
    handle = server.connect(server.open())    # nobody else was disturbed
    handle.pwrite(page(1), 0)
    assert handle.pread(PAGE, 0) == page(1)


def test_a_flood_of_strangers_keeps_no_client_from_being_heard(network, found):
    """The stranger sends from the client's own address."""
    server = found()
    for _ in range(10):    # as many at once as the kernel keeps for a server that does not come to read them
        noise = [os.urandom(300) for _ in range(150)]
        assert len(network.send(*noise, ask(int.from_bytes(os.urandom(8), "big")), answers=1)) == 1
    assert set(refused(server)) == {"stranger"}


def test_the_arbitrator_tells_of_all_servers_and_picks_the_emptiest(network, arbitrator, found):
    small, large = found("16MiB"), found("64MiB")
    identities = [small.load()["identity"], large.load()["identity"]]
    until_known(network, small, large)
    handle = small.connect(small.open())
    handle.pwrite(os.urandom(12 * MIB), 0)

    def pick():
        told, picked = entries(network.send(ask(int.from_bytes(os.urandom(8), "big"), identities, port=PORT + 1),
                                            port=PORT + 1, answers=1)[0])
        return told[picked - 1][0]

    until(lambda: pick() == identities[1], 30, "the large one is picked")
    assert network.send(ask(1, key=b"x" * 32), os.urandom(900), port=PORT + 1) == []
    until(lambda: arbitrator.log().count("refused") == 2, 30, arbitrator.log)


@pytest.mark.parametrize("decided", ["broadcast", "arbitrator"])
@pytest.mark.parametrize("save", ["fixed", "per-save"])
def test_a_pager_saves_where_it_is_told(save, decided, network, arbitrator, found, pagers):
    full, empty = found("16MiB"), found("64MiB")
    hog = full.connect(full.open(space="hog"))
    hog.pwrite(os.urandom(14 * MIB), 0)
    until_known(network, full, empty)
    pager = pagers([full, empty], size="32MiB", prefix=network.prefix,
                   parameters=(*network.at_pager(decided), f"save={save}", "mirror=no"))
    handle = pager.connect()
    for number in range(4096):
        handle.pwrite(page(number), number * PAGE)
    for number in range(4096):
        assert handle.pread(PAGE, number * PAGE) == page(number)
    if save == "fixed":
        assert empty.space()["held_bytes"] == 16 * MIB
    else:
        assert held(full, 1) + held(empty, 2) == 16 * MIB and held(empty, 2) > 14 * MIB


def test_where_the_arbitrator_is_silent_each_server_is_asked(network, found, pagers):
    full, empty = found("16MiB"), found("64MiB")
    hog = full.connect(full.open(space="hog"))
    hog.pwrite(os.urandom(15 * MIB), 0)
    pager = pagers([full, empty], size="32MiB", prefix=network.prefix,
                   parameters=(*network.at_pager("arbitrator"), "save=fixed", "mirror=no"))
    handle = pager.connect()
    handle.pwrite(page(1), 0)
    assert handle.pread(PAGE, 0) == page(1) and empty.space()["held_bytes"] == PAGE
