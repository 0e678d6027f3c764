# SPDX-License-Identifier: LGPL-2.1-or-later
"""Drills: what a rehearsal does to the standby and leaves alone on the active VM, what cuts it off, and a full drill
with the way back."""
import pytest

from expect import counts, counts_further, moved, rejoined, said, table_adds_up
from testbed.policy import DB, WEB, policy
from testbed.stand import Stand
from testbed.wait import stays, until

MIB = 1 << 20
REGION = 128 * MIB
# 64 monitor, 256 overhead, 32 reserve, 384 VMs, 128 db, 64 web: of 1 GiB 96 MiB are unused.
TOO_LITTLE, UNUSED = "1GiB", 96 * MIB
ENOUGH = "1152MiB"
# It leaves a mark, and goes on for as long as a test wants it to.
CANARY = """\
        canary:
          command: [/bin/sh, -c, "echo tried >> /run/canary; while [ -e /run/hold ]; do sleep 0.1; done"]
          timeout: 60s
"""
EXIT_MISSED = 5


def drills(pool, objective="60s"):
    return policy(pool=pool, pair={"objective": objective}, applications=(DB + CANARY, WEB))


class Drilled(Stand):
    """A pair, and what a rehearsal may not have changed when it is over."""

    def __init__(self):
        super().__init__(drills(ENOUGH), "p", ("a", "b"), 192, [("db", 128), ("web", 64)])
        self.wait_armed()

    def rehearse(self):
        return self.failoverd.must("drill", "p", "--level", "rehearse")

    def last_drill(self):
        return self.status()["last_drill"]

    def node_kib(self, vm):
        """Memory of the application's NUMA node in a guest."""
        return int(self.shell(vm, "grep MemTotal /sys/devices/system/node/node1/meminfo").split()[3])

    def tried(self, vm):
        return self.shell(vm, "cat /run/canary 2>/dev/null").count("tried")

    def left_alone(self):
        """What is the same before and after."""
        active, standby = self.active, self.standby
        return {
            "active": active, "flows": self.n_flows(), "pid": self.app_pid(active, "db"),
            "qemu": self.qemus(), "tried on the active VM": self.tried(active),
            "memory of the standby": self.node_kib(standby),
            "rows": {key: (row["usage_bytes"], row["user"]["name"], row["target"]["name"])
                     for key, row in self.failoverd.table().items()},
        }

    def all_is_back(self, before):
        """The standby is small again, the pair protected, and the active VM's application has never stopped."""
        self.wait_armed()
        until(lambda: self.status()["rehearsal"] is None, 60, "the rehearsal's memory is given back")
        standby = self.standby
        until(lambda: self.node_kib(standby) == before["memory of the standby"], 30, f"{standby} is as small as before")
        assert all(side["plugged_bytes"] == 0 for app in self.status()["applications"] for side in app["sides"]
                   if side["domain"] == standby)
        assert self.left_alone() == before
        counts_further(self, before["active"])
        table_adds_up(self)

    def held_rehearsal(self):
        """A rehearsal under way whose canary does not end by itself."""
        self.shell(self.standby, "touch /run/hold")
        tried = self.tried(self.standby)
        process = self.failoverd.ctl_start("drill", "p", "--level", "rehearse", log="drill.log")
        until(lambda: self.tried(self.standby) > tried or process.poll() is not None, 60, "the canary runs")
        with open(self.session.path("drill.log")) as f:
            assert process.poll() is None, f.read()
        status = self.status()
        assert status["state"] == "armed" and status["rehearsal"]["state"] == "canary", status["rehearsal"]
        assert status["rehearsal"]["bytes"] == REGION
        return process


@pytest.fixture(scope="module")
def stand():
    with Drilled() as stand:
        yield stand


@pytest.fixture
def drilled(stand, request):
    request.node.stand = stand
    for vm in stand.domains:
        stand.shell(vm, "rm -f /run/hold")
    stand.apply(drills(ENOUGH))
    stand.wait_armed()
    until(lambda: stand.status()["rehearsal"] is None, 60, "memory of the last rehearsal has come back")
    counts(stand, stand.active)
    return stand


def test_rehearsal_grows_the_standby_and_gives_all_back(drilled):
    before, standby = drilled.left_alone(), drilled.standby
    tried = drilled.tried(standby)
    done = drilled.rehearse()
    assert "rehearsed 128 of 128 MiB" in done.stdout and "objective" in done.stdout
    drill = drilled.last_drill()
    assert (drill["level"], drill["verdict"], drill["objective_ms"]) == ("rehearse", "met", 60000)
    assert 0 < drill["took_usec"] < 60_000_000
    rehearsal = drill["rehearsal"]
    assert rehearsal["wanted_bytes"] == rehearsal["rehearsed_bytes"] == REGION
    assert min(rehearsal[f"{step}_usec"] for step in ("plugged", "touched", "canary")) > 0
    assert drilled.tried(standby) == tried + 1
    drilled.all_is_back(before)


def test_rehearsal_with_too_little_unused_memory_says_how_far_it_came(drilled):
    drilled.apply(drills(TOO_LITTLE))
    before = drilled.left_alone()
    done = drilled.rehearse()
    assert "rehearsed 96 of 128 MiB: only 96 MiB were unused" in done.stdout
    assert drilled.last_drill()["rehearsal"]["rehearsed_bytes"] == UNUSED
    drilled.all_is_back(before)


def test_rehearsal_that_misses_the_objective_exits_with_5(drilled):
    drilled.apply(drills(ENOUGH, objective="2s"))
    before = drilled.left_alone()
    process = drilled.held_rehearsal()
    stays(lambda: process.poll() is None, 2.1, "the rehearsal waits for its canary")
    drilled.shell(drilled.standby, "rm /run/hold")
    assert process.wait(60) == EXIT_MISSED
    assert drilled.last_drill()["verdict"] == "missed"
    drilled.all_is_back(before)


def test_memory_of_a_rehearsal_is_in_the_table_and_a_pause_ends_it(drilled):
    before = drilled.left_alone()
    process = drilled.held_rehearsal()
    standby = drilled.standby
    rows = drilled.failoverd.table()
    row = next(row for row in rows.values() if row["kind"] == "rehearsal")
    assert row["usage_bytes"] == REGION and row["user"]["name"] == standby
    assert drilled.node_kib(standby) > before["memory of the standby"]
    table_adds_up(drilled)
    done = drilled.failoverd.ctl("switch", "p")
    assert done.returncode == 1 and "rehears" in done.stderr, done.stderr
    drilled.failoverd.must("pause", "p")
    assert process.wait(60) == 1
    drilled.failoverd.must("resume", "p")
    assert drilled.last_drill()["verdict"] == "failed"
    drilled.all_is_back(before)


def test_failoverd_killed_in_mid_rehearsal_takes_the_memory_back(drilled):
    before, standby = drilled.left_alone(), drilled.standby
    process = drilled.held_rehearsal()
    drilled.failoverd.kill()
    assert process.wait(60) != 0
    assert drilled.node_kib(standby) > before["memory of the standby"]
    drilled.failoverd.start()
    drilled.all_is_back(before)
    drill = drilled.last_drill()
    assert (drill["level"], drill["verdict"]) == ("rehearse", "failed")
    assert "failoverd ended in the middle of it; 128 MiB are taken back" in drill["text"]
    assert said(drilled, "drill-missed", "failoverd ended in the middle of it")
    drilled.shell(standby, "rm -f /run/hold")
    drilled.rehearse()


def test_failure_in_mid_rehearsal_comes_first(drilled):
    old, new, flows = drilled.active, drilled.standby, drilled.n_flows()
    process = drilled.held_rehearsal()
    drilled.guests.kill(old)
    flow = drilled.wait_failover(flows)
    moved(drilled, flow, "os-failure", old, new)
    assert process.wait(60) == 1
    assert f"given up for a failover (os-failure of {old})" in drilled.last_drill()["text"]
    rejoined(drilled, old, new, flow)
    assert drilled.status()["rehearsal"] is None


def test_full_drill_goes_there_and_back(drilled):
    old, flows = drilled.active, drilled.n_flows()
    drilled.failoverd.must("drill", "p", "--fault", "panic", "--return", seconds=240)
    until(lambda: drilled.n_flows() == flows + 2 and drilled.failoverd.flows("p")[0]["ok"] is not None, 30,
          "history has the end of both")
    there, back = reversed(drilled.failoverd.flows("p")[:2])
    assert (there["kind"], there["ok"], there["from"]["domain"]) == ("os-failure", True, old)
    assert back["ok"] and back["to"]["domain"] == old
    drill = drilled.last_drill()
    assert (drill["level"], drill["verdict"], drill["failover"]) == ("full", "met", there["id"])
    drilled.wait_armed()
    assert drilled.active == old
    until(lambda: drilled.running_on("db") == [old], 30, f"db runs on {old} alone")
