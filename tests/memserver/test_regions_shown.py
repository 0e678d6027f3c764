# SPDX-License-Identifier: LGPL-2.1-or-later
"""failoverctl regions: a real failoverd, above libvirt's test driver, its name server, and the holder of a region."""
import contextlib
import json
import os
import signal
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


def left(failoverd):
    return [(one["pair"], one["region"], one["at"], one["held_bytes"]) for one in failoverd.regions()["left"]]


def store(server, failoverd, owner, space):
    """What an application has stored, which has ended since."""
    capability = server.open(MIB, token=7, node=failoverd.regions()["node"], owner=owner, space=space)
    handle = server.connect(capability)
    handle.pwrite(page(1), 0)
    handle.shutdown()
    until(lambda: server.space(node=failoverd.regions()["node"], owner=owner, space=space)["connections"] == 0,
          SECONDS, server.log)


def test_what_is_left_of_a_region_is_listed_and_dropped_by_name_alone(server, failoverd, tmp_path):
    store(server, failoverd, "shop", "ledger")    # the policy's own
    store(server, failoverd, "vm-a", "swap")    # a VM's overflow
    store(server, failoverd, "shop", "context:x")
    server.open(MIB, node="elsewhere", owner="shop", space="basket")    # another host's
    assert left(failoverd) == [] and "LEFT" not in failoverd.ctl("regions").stdout
    store(server, failoverd, "shop", "basket")
    store(server, failoverd, "gone", "ledger")
    assert left(failoverd) == [("shop", "basket", "depot", PAGE), ("gone", "ledger", "depot", PAGE)]
    assert "failoverctl regions drop PAIR REGION" in failoverd.ctl("regions").stdout
    refused = failoverd.ctl("regions", "drop", "shop", "ledger", "--server", "depot", "--force")
    assert refused.returncode == 1 and "is the state of shop/db" in refused.stderr
    os.symlink(os.path.dirname(server.control_path), f"{tmp_path}/link")
    for path in f"/{server.control_path}", f"{tmp_path}/link/{os.path.basename(server.control_path)}":
        refused = failoverd.ctl("regions", "drop", "shop", "ledger", "--server", path, "--force")
        assert refused.returncode == 1 and "is the state of shop/db" in refused.stderr
    refused = failoverd.ctl("regions", "drop", "shop", "ledger")
    assert refused.returncode == 1 and "nothing of region ledger of shop is left" in refused.stderr
    planned = failoverd.ctl("regions", "drop", "shop", "basket", "--dry-run")
    assert planned.returncode == 0 and "would be dropped at depot" in planned.stdout and len(left(failoverd)) == 2
    done = failoverd.ctl("regions", "drop", "shop", "basket", "--json", "--server", "depot", "--server", "depot",
                         "--server", server.control_path)    # one server, by its names
    assert done.returncode == 0 and json.loads(done.stdout)["dropped"] == [{"at": "depot", "held_bytes": PAGE}]
    assert left(failoverd) == [("gone", "ledger", "depot", PAGE)]
    assert server.space(node="elsewhere", owner="shop", space="basket") and failoverd.regions()["regions"][0]["held"]


def test_what_somebody_uses_or_may_have_the_latest_is_not_dropped_by_mistake(server, servers, failoverd):
    node = failoverd.regions()["node"]
    reader = server.connect(server.open(MIB, node=node, owner="shop", space="basket"))
    refused = failoverd.ctl("regions", "drop", "shop", "basket")
    assert refused.returncode == 1 and "region basket of shop is in use, over 1 connection;" in refused.stderr
    reader.pread(PAGE, 0)
    annex = servers()    # that the policy does not have any more
    store(annex, failoverd, "shop", "ledger")
    words = "regions", "drop", "shop", "ledger", "--server", annex.control_path
    refused = failoverd.ctl(*words)
    assert refused.returncode == 1 and "may have the latest of region ledger" in refused.stderr
    assert failoverd.ctl(*words, "--force").returncode == 0
    assert annex.ask("spaces", node=node, owner="shop", space="ledger") == []
    server.kill()
    assert "what may be left there is not known" in failoverd.ctl("regions").stdout
    silent = failoverd.ctl("regions", "drop", "shop", "basket")
    assert silent.returncode == 1 and server.control_path in silent.stderr
    store(annex, failoverd, "shop", "basket")
    silent = failoverd.ctl("regions", "drop", "shop", "basket", "--server", "depot", "--server", annex.control_path)
    assert silent.returncode == 1 and server.control_path in silent.stderr and "is dropped at" in silent.stdout


def test_what_a_reload_has_to_say_of_the_policy_is_in_the_log(failoverd):
    with open(f"{failoverd.dir}/policy.yaml") as f:
        text = f.read()
    with open(f"{failoverd.dir}/policy.yaml", "w") as f:
        f.write(text.replace("region: ledger, size: 1MiB", "region: ledger, size: 400MiB"))    # and a second copy
    before = failoverd.log()
    failoverd.processes[-1].send_signal(signal.SIGHUP)
    until(lambda: "there is a second copy" in failoverd.log()[len(before):], SECONDS, failoverd.log)


def test_what_is_left_goes_with_its_mirror(servers, server, failoverd):
    annex, which = servers(), {"node": failoverd.regions()["node"], "owner": "gone", "space": "ledger"}
    store(server, failoverd, "gone", "ledger")
    capability = annex.open(MIB, token=7, role="mirror", **which)
    server.ask("mirror", uri=annex.uri(capability), **which)
    server.until_mirror("complete", **which)
    alone = failoverd.ctl("regions", "drop", "gone", "ledger", "--server", annex.control_path)
    assert alone.returncode == 1 and "is in use" in alone.stderr    # its primary writes to it
    both = failoverd.ctl("regions", "drop", "gone", "ledger", "--server", "depot", "--server", annex.control_path,
                         "--force")
    assert both.returncode == 0, both
    assert server.ask("spaces", **which) == annex.ask("spaces", **which) == []


def test_what_a_vm_outside_the_policy_pages_to_is_not_dropped_by_mistake(server, failoverd):
    """As in the example of failover-pager-plugin(1); its pager is about to connect again."""
    store(server, failoverd, "orders-a", "swap")
    store(server, failoverd, "shop", "basket")
    known = {(one["pair"], one["region"]): one["pair_known"] for one in failoverd.regions()["left"]}
    assert known == {("orders-a", "swap"): False, ("shop", "basket"): True}
    assert "only --force drops it" in failoverd.ctl("regions").stdout
    refused = failoverd.ctl("regions", "drop", "orders-a", "swap")
    assert refused.returncode == 1 and "orders-a is no pair of the policy in force" in refused.stderr
    assert server.space(node=failoverd.regions()["node"], owner="orders-a", space="swap")["held_bytes"] == PAGE
    assert failoverd.ctl("regions", "drop", "orders-a", "swap", "--force").returncode == 0
    assert [one["region"] for one in failoverd.regions()["left"]] == ["basket"]
    assert failoverd.ctl("regions", "drop", "shop", "basket").returncode == 0
