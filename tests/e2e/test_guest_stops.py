# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest's own reboot and power-off, announced and not."""
from expect import moved, rejoined, said
from testbed.wait import until

ANNOUNCE = "failover-agent --announce"


def test_announced_reboot_is_waited_for(pair):
    active, flows, pid = pair.active, pair.n_flows(), pair.guests.pid(pair.active)
    pair.shell(active, f"{ANNOUNCE} reboot")
    until(lambda: pair.member(active)["going"] is not None, 10, "failoverd has heard it")
    pair.guests[active].send("reboot -f")
    until(lambda: pair.guests.pid(active) not in (None, pid) or pair.member(active)["going"] is None, 60,
          "it comes back")
    pair.wait_armed()
    assert pair.n_flows() == flows, "there was a failover"
    assert pair.active == active
    assert said(pair, "ignored", "announced", active)


def test_unannounced_reset_is_a_failure(pair):
    active, standby, before = pair.active, pair.standby, pair.n_flows()
    pair.session.virsh("reset", active)
    flow = pair.wait_failover(before)
    moved(pair, flow, "os-failure", active, standby)
    rejoined(pair, active, standby, flow)


def test_unannounced_power_off_is_a_failure(pair):
    active, standby, before = pair.active, pair.standby, pair.n_flows()
    pair.guests[active].send("poweroff -f")
    flow = pair.wait_failover(before)
    moved(pair, flow, "os-failure", active, standby)
    rejoined(pair, active, standby, flow)
