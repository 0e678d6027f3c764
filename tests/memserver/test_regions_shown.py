# SPDX-License-Identifier: LGPL-2.1-or-later
"""failoverctl regions: a real failoverd, above libvirt's test driver, its name server, and the holder of a region."""
import contextlib
import json
import os
import socket
import struct

import pytest
from failoverd import Failoverd
from server import MIB, PAGE, SECONDS, page
from testbed.wait import until

@pytest.fixture
def failoverd(server, tmp_path):
    with contextlib.closing(Failoverd(str(tmp_path), server.control_path)) as one:
        yield one


def connect(failoverd):
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(SECONDS)
    connection.connect(failoverd.names)
    return connection


def ask(connection, **request):
    connection.sendall(json.dumps({"failover-names": 1, **request}).encode() + b"\n")
    return json.loads(connection.makefile("rb").readline())


def test_what_the_holder_has_stands_beside_what_failoverd_knows(server, failoverd):
    region = failoverd.regions()["regions"][0]
    assert region["held"] is None and "no such region" in region["held_text"] and region["writer"] is None
    which = {"node": failoverd.regions()["node"], "owner": "shop", "space": "ledger"}
    writer = server.connect(server.open(MIB, **which) + ".epoch")
    writer.pwrite(page(1), 0)
    writer.flush()
    held = failoverd.regions()["regions"][0]["held"]
    assert held["epochs"] == 1 and held["held_bytes"] == PAGE and held["epoch_age_ms"] is not None
    assert "process" in held["writer"]
    server.kill()
    region = failoverd.regions()["regions"][0]
    assert region["held"] is None and server.control_path in region["held_text"]
    assert region["holder"] == "depot" and region["write_back_ms"] == 200


def test_names_are_shown_while_their_owner_lives_and_never_where_they_lead(failoverd):
    owner, other = connect(failoverd), connect(failoverd)
    entry = {"name": "prices", "uri": "nbd+unix:///CAPABILITY?socket=/run/x", "size": MIB, "kinds": [1, 3]}
    assert ask(owner, register=entry) == {"registered": {"name": "prices"}}
    assert f"held by process {os.getpid()}" in ask(other, register=entry)["refused"]
    assert ask(other, resolve={"name": "prices", "kind": 3})["found"]["uri"] == entry["uri"]
    assert "region of the policy" in ask(other, resolve={"name": "ledger", "kind": 3})["refused"]
    name = failoverd.regions()["names"][0]
    assert (name["name"], name["pid"], name["uid"]) == ("prices", os.getpid(), os.geteuid())
    assert name["size_bytes"] == MIB and name["kinds"] == [1, 3] and name["resolved"] == 1
    shown = failoverd.ctl("regions").stdout
    assert "prices" in shown and "CAPABILITY" not in shown + failoverd.log() + json.dumps(failoverd.regions())
    owner.close()
    until(lambda: not failoverd.regions()["names"], SECONDS, failoverd.log)


def test_what_a_program_tells_of_its_use_is_shown_with_its_age(server, failoverd):
    capability = server.open(MIB, node=failoverd.regions()["node"], owner="shop", space="ledger")
    server.connect(capability).pread(PAGE, 0)
    assert failoverd.regions()["regions"][0]["held"]["client"] is None
    numbers = 5 * MIB, 3 * PAGE, 2**64 - 1, 7 * MIB, 9 * MIB, 2    # any number is a client's to tell
    report = (b"failover-use-1".ljust(16, b"\0") + struct.pack("<6Q", *numbers)).ljust(128, b"\0")
    server.connect(capability + ".report").pwrite(report, 0)
    held = failoverd.regions()["regions"][0]["held"]
    assert held["returned_bytes"] == PAGE and held["saved_bytes"] == 0
    client = held["client"]
    assert client.pop("age_ms") < 1000 * SECONDS and client.pop("who").startswith("process ")
    assert client == dict(zip(("resident_bytes", "dirty_bytes", "faults", "fetched_bytes", "written_bytes", "errors"),
                              numbers))
    rows = failoverd.ctl("regions").stdout.splitlines()
    at = next(i for i, row in enumerate(rows) if row.startswith("IN USE"))
    assert rows[at + 1].startswith("ledger") and "process" in rows[at + 1]
