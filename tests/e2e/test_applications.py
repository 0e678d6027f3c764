# SPDX-License-Identifier: LGPL-2.1-or-later
"""Failures of one application: severity, restarts in place, and that nobody else notices."""
import dataclasses

import pytest

from expect import moved, rejoined, said
from testbed.policy import DB, WEB, policy
from testbed.wait import NotInTime, stays, until

RESTART_WINDOW = 15     # seconds, of the policy


def restarted(pair, vm, app, old_pid):
    """The application runs again on the same side, as another process."""
    def there():
        return pair.running_on(app) == [vm] and pair.app_pid(vm, app) != old_pid

    until(there, 20, f"{app} is restarted on {vm}")
    return pair.app_pid(vm, app)


def budget_is_whole(pair, app):
    until(lambda: pair.application(app)["restarts_left"] == pair.application(app)["restart_budget"],
          RESTART_WINDOW + 5, f"earlier restarts of {app} are forgotten")


def test_major_failure_moves_the_application_and_the_other_one_keeps_counting(home):
    web, counted = home.app_pid("a", "web"), home.count("a", "web")
    before = home.n_flows()
    home.kill_app("a", "db", "KILL")
    flow = home.wait_failover(before)
    moved(home, flow, "application-failure", "a", "b")
    assert home.app_pid("a", "web") == web and home.count("a", "web") > counted, "web has noticed"
    assert "web" in {row["name"] for row in home.failoverd.json("table")["rows"]}
    assert home.shell("a", "pidof fill").split() == [str(web)], "db is gone from a"
    rejoined(home, "a", "b", flow)
    assert home.guests.state("a") == "running"


def test_minor_failure_restarts_in_place_within_the_budget_and_the_other_one_keeps_counting(home):
    budget_is_whole(home, "db")
    flows, pid = home.n_flows(), home.app_pid("a", "db")
    web, counted = home.app_pid("a", "web"), home.count("a", "web")
    home.kill_app("a", "db", "SEGV")
    restarted(home, "a", "db", pid)
    home.wait_armed(30)
    assert home.n_flows() == flows, "it was moved"
    assert home.app_pid("a", "web") == web and home.count("a", "web") > counted
    assert said(home, "restarted", "db failed on a")


def test_minor_failure_beyond_the_budget_is_hard_to_repair_and_moves(home):
    budget_is_whole(home, "db")
    flows, pid = home.n_flows(), home.app_pid("a", "db")
    home.kill_app("a", "db", "SEGV")
    restarted(home, "a", "db", pid)
    assert home.n_flows() == flows
    home.kill_app("a", "db", "SEGV")
    flow = home.wait_failover(flows)
    moved(home, flow, "application-failure", "a", "b")
    assert "budget is used up" in flow["cause"]
    rejoined(home, "a", "b", flow)


def test_application_that_stands_still_fails_its_health_check_and_is_restarted(home):
    budget_is_whole(home, "db")
    flows, pid = home.n_flows(), home.app_pid("a", "db")
    home.kill_app("a", "db", "USR1")
    restarted(home, "a", "db", pid)
    home.wait_armed(30)
    assert home.n_flows() == flows
    assert said(home, "restarted", "check")


def test_plain_application_failing_alone_restarts_then_gives_its_region_to_the_monitor(keeper, home):
    budget_is_whole(home, "web")
    flows, pid, db = home.n_flows(), home.app_pid("a", "web"), home.app_pid("a", "db")
    table = home.failoverd.table()
    home.kill_app("a", "web", "SEGV")
    restarted(home, "a", "web", pid)
    home.kill_app("a", "web", "SEGV")
    until(lambda: home.application("web")["ended"], 20, "it is given up")
    until(lambda: "p:a:web" not in home.failoverd.table(), 30, "its region leaves the VM")
    unused = home.failoverd.table()["unused"]["usage_bytes"]
    assert unused == table["unused"]["usage_bytes"] + table["p:a:web"]["usage_bytes"]
    stays(lambda: home.running_on("web") == [], 3, "it is started nowhere")
    assert home.n_flows() == flows and home.app_pid("a", "db") == db
    keeper.drop()   # it stays ended


# ---- what a failure is ----

@dataclasses.dataclass
class Failure:
    """`policy` makes db's text of the policy another one. `prepare` is run in both guests before that is in force;
    then, in a, each of `restarts` ends db's process $pid and has it restarted in place, and `moves` has it moved, for
    the reason that has all these `words`."""
    policy: dict
    moves: str
    words: tuple
    prepare: str = ":"
    restarts: tuple = ()


PROGRAM, RULES = '[/usr/bin/fill, run, db, "96"]', "{signal: KILL, is: major}"
# Ends with the status in /run/db.exit when `fill` is gone.
WITH_STATUS = "[/bin/sh, -c, '/usr/bin/fill run db 96; exit $(cat /run/db.exit)']"

FAILURES = {
    "an-exit-status-that-is-major": Failure(
        {PROGRAM: WITH_STATUS, RULES: "{exit: 7, is: major}"},
        "echo 7 > /run/db.exit; kill $pid", ("exited with 7", "major", "by its severity rule"),
        restarts=("kill -SEGV $pid", "echo 8 > /run/db.exit; kill $pid")),
    "killed-for-memory-in-its-cgroup": Failure(
        {RULES: "{signal: any, is: minor}"},
        "echo 16M > /sys/fs/cgroup/failover/db/memory.max", ("out of memory", "critical")),
    "its-agent-says-hard-to-repair": Failure(
        {PROGRAM: '[/run/db-program, run, db, "96"]', RULES: "{start: failed, is: minor}"},
        "rm /run/db-program; kill -SEGV $pid", ("cannot execute /run/db-program", "hard", "its agent says so"),
        prepare="cp /usr/bin/fill /run/db-program", restarts=("kill -SEGV $pid",)),
    "a-restart-takes-longer-than-a-failover": Failure(
        {"expected: 500ms": "expected: 1min"},
        "kill -SEGV $pid", ("ended by signal 11", "hard", "a restart takes longer than a failover")),
}


def apply(pair, applications):
    pair.apply(policy(applications=applications))
    pair.wait_armed()


@pytest.fixture
def usual_policy(keeper):
    """The policy that a test applies is taken back; where it cannot be, its stand is not used any more."""
    yield
    try:
        apply(keeper.stand, (DB, WEB))
    except (AssertionError, NotInTime):
        keeper.drop()


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
def test_what_is_more_than_minor_moves_the_application(usual_policy, home, failure):
    text = DB.replace("budget: 1,", "budget: 10,")
    for old, new in failure.policy.items():
        assert old in text
        text = text.replace(old, new)
    for vm in home.domains:
        home.shell(vm, failure.prepare)
    apply(home, (text, WEB))
    before, web = home.n_flows(), home.app_pid("a", "web")
    pid = home.app_pid("a", "db")
    for restarts in failure.restarts:
        home.shell("a", f"pid={pid}; {restarts}")
        pid = restarted(home, "a", "db", pid)
    assert home.n_flows() == before, "it was moved"
    home.shell("a", f"pid={pid}; {failure.moves}")
    flow = home.wait_failover(before)
    moved(home, flow, "application-failure", "a", "b")
    assert all(word in flow["cause"] for word in failure.words), flow["cause"]
    assert home.app_pid("a", "web") == web, "web has noticed"
    home.shell("a", f"{failure.prepare}; echo max > /sys/fs/cgroup/failover/db/memory.max; :")   # as it was
    rejoined(home, "a", "b", flow)
