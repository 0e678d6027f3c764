# SPDX-License-Identifier: LGPL-2.1-or-later
"""failoverd itself: stopped, killed and started again, idle and in the middle of a failover."""
import os

import pytest

from expect import counts, life, moved, rejoined, table_adds_up
from testbed.wait import until


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_failoverd_restarted_while_idle_leaves_guests_and_applications_alone(pair, end):
    active, pids, app = life(pair)
    before = pair.n_flows()
    counts(pair, active)
    getattr(pair.failoverd, end)()
    counted = pair.count(active, "db")
    pair.failoverd.start()
    pair.wait_armed(30)
    assert life(pair) == (active, pids, app)
    assert pair.count(active, "db") > counted, "it has run on meanwhile"
    assert pair.n_flows() == before


def test_broken_policy_file_at_a_restart_leaves_the_last_good_policy_in_force(pair):
    active, pids, app = life(pair)
    with open(pair.session.path("policy.yaml")) as f:
        good = f.read()
    pair.failoverd.stop()
    try:
        pair.session.write("policy.yaml", good + "pears: [\n")
        pair.failoverd.start()
        pair.wait_armed(30)
        assert life(pair) == (active, pids, app)
        assert "stays in force" in pair.failoverd.log()
    finally:
        pair.session.write("policy.yaml", good)


@pytest.mark.parametrize("phase", ["decided", "fenced", "granted", "plugged", "started"])
def test_failoverd_killed_in_mid_failover_completes_it_after_its_restart(pair, phase):
    """Killed as soon as history or status tells of that phase, or right after where it was quicker than we."""
    active, standby, before = pair.active, pair.standby, pair.n_flows()
    watch = pair.failoverd.ctl_start("monitor", "--json", log="monitor.log")
    until(lambda: os.path.exists(pair.session.path("monitor.log")), 5, "monitor runs")
    pair.guests.kill(active)

    def reached():
        with open(pair.session.path("monitor.log")) as f:
            if f'"{phase}"' in f.read():
                return True
        flows = pair.failoverd.flows(pair.pair_name)    # the monitor may have come too late to see it
        return len(flows) > before and any(p["phase"] == phase for p in flows[0]["phases"])

    until(reached, 30, f"the failover is {phase}")
    pair.failoverd.kill()
    watch.terminate()
    watch.wait()
    os.remove(pair.session.path("monitor.log"))
    pair.failoverd.start()
    flow = pair.wait_failover(before, 60)
    moved(pair, flow, "os-failure", active, standby)
    assert pair.n_flows() == before + 1, "it was done once"
    rejoined(pair, active, standby, flow)


def test_fault_while_failoverd_is_away_is_found_and_repaired_at_its_start(pair):
    active, before = pair.active, pair.n_flows()
    pair.failoverd.kill()
    pair.guests.kill(active)
    until(lambda: pair.guests.pid(active) is None, 10, "the VM is gone")
    pair.failoverd.start()
    pair.wait_armed(120)
    assert len(pair.running_on("db")) == 1
    counts(pair, pair.active)
    assert pair.n_flows() in (before, before + 1)


def test_pair_comes_up_after_a_power_loss_with_the_side_active_that_owns_the_data(pair):
    pair.failoverd.must("switch", "p")
    pair.wait_armed()
    owner, known = pair.active, [flow["id"] for flow in pair.failoverd.flows("p")]
    pair.lose_power()
    pair.session.start_libvirtd()
    assert [pair.guests.state(vm) for vm in pair.domains] == ["shut off", "shut off"]
    pair.failoverd.start()
    pair.wait_armed()
    assert pair.active == owner and pair.running_on("db") == [owner]
    assert pair.application("db")["owner"]["domain"] == owner
    counts(pair, owner)
    table_adds_up(pair)
    assert [flow["id"] for flow in pair.failoverd.flows("p")] == known, "history is as it was"
