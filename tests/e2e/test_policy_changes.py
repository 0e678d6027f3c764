# SPDX-License-Identifier: LGPL-2.1-or-later
"""A policy that is applied while two pairs run: an application has another name, stands under another pair, or its pair
is taken out. What the change leaves as it was does not notice."""
import xml.etree.ElementTree as ElementTree

import pytest

from testbed.stand import Stand
from testbed.wait import until

REGIONS = ("db", "mail", "shop", "store")   # each guest has room for all

HEAD = """\
version: 1
hypervisor: qemu:///session
pool: {memory: 1792MiB, reserve: 0MiB, extent: 32MiB, monitor: 64MiB, overhead: 128MiB}
pairs:
"""
PAIR = """\
  - name: {pair}
    active: {{domain: {active}, base: 160MiB}}
    standby: {{domain: {standby}, base: 160MiB}}
    applications:
"""
APPLICATION = """\
      - name: {name}
        kind: hot-standby
        memory: 128MiB
        start: {{command: {command}}}
        health: {{command: [/usr/bin/fill, check, {name}], interval: 500ms, timeout: 500ms, failures: 3}}
        stop-timeout: 2s
"""
# It does not heed the request to stop: it runs on until its time is over.
DB = APPLICATION.format(name="db", command="""[/bin/sh, -c, "trap '' TERM; exec /usr/bin/fill run db 16"]""") + """\
        resources: {disks: [vdb]}
"""


def application(name):
    return DB if name == "db" else APPLICATION.format(name=name, command=f'[/usr/bin/fill, run, {name}, "16"]')


def policy(p, q=()):
    """With these applications in pairs p (a, b) and q (c, d); a pair without any is not in it."""
    return HEAD + "".join(PAIR.format(pair=pair, active=active, standby=standby) + "".join(map(application, names))
                          for pair, active, standby, names in (("p", "a", "b", p), ("q", "c", "d", q)) if names)


def options(session, domain):
    return [f"--kept-disk=vdb:{session.make_disk('img/db.raw', 16)}"]


@pytest.fixture(scope="module")
def stand():
    with Stand(policy(("db", "mail"), ("shop",)), "p", ("a", "b", "c", "d"), 160,
               [(region, 128) for region in REGIONS], domain_options=options) as stand:
        yield stand


@pytest.fixture
def pairs(stand, request):
    """Pair p armed with db and mail, pair q with shop, whatever was applied before."""
    request.node.stand = stand
    stand.apply(policy(("db", "mail"), ("shop",)))
    for pair in ("p", "q"):
        stand.failoverd.wait_state(pair, "armed", 120)
    return stand


def requested(pairs, vm):
    """KiB that libvirt asks each region's device of a VM to have."""
    devices = ElementTree.fromstring(pairs.session.virsh("dumpxml", vm).stdout).findall("./devices/memory")
    return {device.find("alias").get("name").removeprefix("ua-"): int(device.find("target/requested").text)
            for device in devices}


def disks(pairs):
    return [vm for vm in pairs.domains if "vdb" in pairs.session.virsh("domblklist", vm).stdout]


def is_there(pairs, vm, pid):
    return pairs.shell(vm, f"[ -d /proc/{pid} ] && echo there; :").strip() == "there"


def runs(pairs, vm, app):
    """Its process, once it counts; what /run has may be of an earlier one."""
    def there():
        pid = pairs.app_pid(vm, app)
        return pid if is_there(pairs, vm, pid) and pairs.count(vm, app) > 0 else None

    return until(there, 60, f"{app} counts on {vm}")


def states(pairs, pair, app):
    """Of an application, on both sides, as their agents tell."""
    return [side["state"] for application in pairs.failoverd.pair(pair)["applications"] if application["name"] == app
            for side in application["sides"]]


def left(pairs, pair, vm, app):
    """Nothing of it is in that VM any more."""
    until(lambda: requested(pairs, vm)[app] == 0, 60, f"{vm} is to have nothing of {app}'s region")
    until(lambda: f"{pair}:{vm}:{app}" not in pairs.failoverd.table(), 60, f"the region of {app} leaves {vm}")
    assert not is_there(pairs, vm, pairs.app_pid(vm, app)), f"{app} runs on {vm}"


def test_application_that_is_renamed_is_stopped_and_another_one_is_started(pairs):
    db, mail = runs(pairs, "a", "db"), runs(pairs, "a", "mail")
    runs(pairs, "c", "shop")
    pairs.apply(policy(("db", "mail"), ("store",)))
    pairs.failoverd.wait_state("q", "armed", 60)
    runs(pairs, "c", "store")
    left(pairs, "q", "c", "shop")
    assert (pairs.app_pid("a", "db"), pairs.app_pid("a", "mail")) == (db, mail), "the other pair has noticed"
    pairs.failoverd.wait_state("p", "armed", 60)


def test_application_named_under_another_pair_goes_there_with_its_disk_when_it_has_stopped(pairs):
    mail, shop, db = (runs(pairs, vm, app) for vm, app in (("a", "mail"), ("c", "shop"), ("a", "db")))
    pairs.apply(policy(("mail",), ("shop", "db")))
    until(lambda: "running" in states(pairs, "q", "db"), 60, "db is told to run in its new pair")
    assert not is_there(pairs, "a", db), "it runs in its new pair, and still in the old one"
    runs(pairs, "c", "db")
    assert disks(pairs) == ["c"]
    left(pairs, "p", "a", "db")
    for pair in ("p", "q"):
        pairs.failoverd.wait_state(pair, "armed", 60)
    assert (pairs.app_pid("a", "mail"), pairs.app_pid("c", "shop")) == (mail, shop), "the others have noticed"


def test_pair_taken_out_leaves_its_vms_running_and_clean(pairs):
    shop = runs(pairs, "c", "shop")
    runs(pairs, "a", "db")
    pairs.apply(policy((), ("shop",)))
    for app in ("db", "mail"):
        left(pairs, "p", "a", app)
    until(lambda: disks(pairs) == [], 30, "its disk is detached")
    assert set(requested(pairs, "a").values()) == set(requested(pairs, "b").values()) == {0}
    assert [pairs.guests.state(vm) for vm in ("a", "b")] == ["running", "running"]
    assert pairs.app_pid("c", "shop") == shop, "the other pair has noticed"
    pairs.failoverd.wait_state("q", "armed", 60)

    def forgotten():
        pairs.apply(policy((), ("shop",)))
        return [pair["name"] for pair in pairs.failoverd.json("status")["pairs"]] == ["q"]

    until(forgotten, 30, "the next policy forgets it")
    assert not any(key.startswith("p:") for key in pairs.failoverd.table())
