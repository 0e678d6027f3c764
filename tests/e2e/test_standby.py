# SPDX-License-Identifier: LGPL-2.1-or-later
"""Failures of the standby, alone, in mid-failover and together with the active VM."""
import os
import signal

import pytest

from expect import counts, moved, rejoined
from testbed.wait import until


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hanging"])
def test_idle_standby_is_rebuilt_and_the_pair_armed_again(pair, fault):
    """One whose QEMU is stopped does not answer, and nothing tells of it."""
    active, standby, flows = pair.active, pair.standby, pair.n_flows()
    app, pid = pair.app_pid(active, "db"), pair.guests.pid(standby)
    os.kill(pid, fault)
    status = pair.failoverd.wait_state("p", ["unprotected", "starting"], 30)
    assert any(standby in reason for reason in status["reasons"])
    assert status["state_age_ms"] is not None, "since when"
    until(lambda: pair.guests.pid(standby) not in (None, pid), 60, "it is rebuilt")
    pair.wait_armed()
    assert pair.n_flows() == flows and pair.active == active
    assert pair.app_pid(active, "db") == app, "the application has noticed"


def test_idle_standby_panicking_is_rebuilt(pair):
    active, standby, flows = pair.active, pair.standby, pair.n_flows()
    pid = pair.guests.pid(standby)
    pair.panic(standby)
    until(lambda: pair.guests.pid(standby) not in (None, pid), 60, "it is rebuilt")
    pair.wait_armed()
    assert pair.n_flows() == flows and pair.active == active


def test_both_vms_killed_at_once_are_rebuilt_and_the_application_runs_again(pair):
    for vm in pair.domains:
        pair.guests.kill(vm)
    pair.failoverd.wait_state("p", ["unprotected", "starting", "failover", "held"], 10)
    pair.wait_armed(120)
    assert len(pair.running_on("db")) == 1, "it runs once"
    assert pair.application("db")["owner"]["domain"] == pair.active
    counts(pair, pair.active)


def test_standby_killed_in_mid_failover_leads_to_a_stated_end(pair):
    """The new side dies while the region is being given to it: the application ends up running exactly once."""
    active, standby, before = pair.active, pair.standby, pair.n_flows()
    pair.guests.kill(active)
    until(lambda: pair.status()["flow"] is not None, 10, "the failover has begun")
    pair.guests.kill(standby)
    pair.wait_failover(before, 120)
    pair.wait_armed(120)
    assert len(pair.running_on("db")) == 1
    counts(pair, pair.active)


def test_second_failover_follows_the_first(pair):
    for _ in range(2):
        active, standby, before = pair.active, pair.standby, pair.n_flows()
        pair.guests.kill(active)
        flow = pair.wait_failover(before)
        moved(pair, flow, "os-failure", active, standby)
        rejoined(pair, active, standby, flow)
