# SPDX-License-Identifier: LGPL-2.1-or-later
"""What must hold after a failover."""
from testbed.wait import until


def table_adds_up(pair):
    table = pair.failoverd.json("table")
    assert sum(row["usage_bytes"] for row in table["rows"]) == table["governed_bytes"]


def counts(pair, vm, app="db", seconds=90):
    """The application has filled its region there and keeps looking at it."""
    until(lambda: pair.count(vm, app) > 0, seconds, f"{app} counts on {vm}")


def counts_further(pair, vm, app="db", seconds=30):
    """It goes on now."""
    counted = pair.count(vm, app)
    until(lambda: pair.count(vm, app) > counted, seconds, f"{app} counts on, on {vm}")


def life(pair):
    """What stays while failoverd comes and goes: who is active, the guests' processes, and the application's."""
    active = pair.active
    return active, pair.qemus(), pair.app_pid(active, "db")


def moved(pair, flow, kind, old, new, app="db"):
    """The application's region and the application itself are on the new side, and nowhere else."""
    assert flow["ok"], flow
    assert (flow["kind"], flow["from"]["domain"], flow["to"]["domain"]) == (kind, old, new)
    until(lambda: pair.running_on(app) == [new], 10, f"{app} runs on {new} alone")
    until(lambda: pair.application(app)["healthy"], 30, f"{app} is healthy on {new}")
    assert pair.application(app)["owner"]["domain"] == new
    rows = [row for row in pair.failoverd.json("table")["rows"] if row["name"] == app]
    assert len(rows) == 1, rows
    assert rows[0]["user"]["name"] == new and rows[0]["target"]["name"] == old
    table_adds_up(pair)
    counts(pair, new, app)


def fault(pair, cause, kind="os-failure", seconds=30):
    """Causes a failure on the active side, of its system where no other kind is named, and follows the failover to its
    end. Returns (from, to, flow)."""
    active, standby = pair.active, pair.standby
    before = pair.n_flows()
    cause(active)
    flow = pair.wait_failover(before, seconds)
    moved(pair, flow, kind, active, standby)
    return active, standby, flow


def rejoined(pair, old, new, flow):
    """The old side is the new small standby, and the pair is armed again without a person."""
    pair.wait_armed()
    assert pair.active == new
    until(lambda: any(p["phase"] == "rejoined" for p in
                      pair.failoverd.json("history", flow["id"])["flows"][0]["phases"]), 10, "history tells of it")
    # Unused memory may stand in while a living old side still gives its own up.
    until(lambda: all(side["plugged_bytes"] == 0 for app in pair.status()["applications"] for side in app["sides"]
                      if side["domain"] == old and app["owner"]["domain"] != old), 30, "the standby has no regions")


def phases(flow):
    """Seconds since the flow's first phase, by phase."""
    return {p["phase"]: p["since_start_usec"] / 1e6 for p in flow["phases"]}


def said_times(pair, kind, words, domain=None):
    """So many lines of history are of that kind, with these words (about that domain)."""
    return sum(event["kind"] == kind and words in event["text"] and
               (domain is None or (event["at"] or {}).get("domain") == domain)
               for event in pair.failoverd.events("p"))


def said(pair, kind, words, domain=None):
    """History has such a line."""
    return said_times(pair, kind, words, domain) > 0


def owned_once(pair):
    """Of a CrashStand: application, disk and memory are on one side, and it is the same."""
    active, standby = pair.active, pair.standby
    disks = {vm: "vdb" in pair.session.virsh("domblklist", vm).stdout for vm in pair.domains}
    assert pair.running_on("db") == [active]
    assert disks == {active: True, standby: False}
    until(lambda: [side["plugged_bytes"] > 0 for side in pair.application("db")["sides"]
                   if side["domain"] == standby] == [False], 30, "the standby has no region")
    assert [row["user"]["name"] for row in pair.failoverd.json("table")["rows"] if row["name"] == "db"] == [active]
    table_adds_up(pair)
    runs = pair.witness.runs("db")
    assert runs and runs[-1].domain == active, runs
    assert not pair.witness.two_at_once("db")
    counts(pair, active)
