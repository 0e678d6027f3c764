# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest's own reboot and power-off, announced and not."""
import pytest

from expect import fault, rejoined, said
from testbed.policy import policy
from testbed.wait import until

ANNOUNCE = "failover-agent --announce"


def apply_policy(pair, text):
    pair.apply(text)
    pair.wait_armed()


@pytest.fixture
def unwilling(pair):
    """A pair whose policy does not wait for a guest that goes."""
    apply_policy(pair, policy(pair={"guest-reboot": "failover", "guest-shutdown": "failover"}))
    yield pair
    apply_policy(pair, policy())


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


def test_announced_power_off_is_waited_for_until_an_operator_starts_it(pair):
    active, flows = pair.active, pair.n_flows()
    pair.shell(active, f"{ANNOUNCE} shutdown")
    until(lambda: pair.member(active)["going"] is not None, 10, "failoverd has heard it")
    pair.guests[active].send("poweroff -f")
    until(lambda: pair.guests.state(active) == "shut off", 30, "it is off")
    assert said(pair, "ignored", "announced its shutdown; policy: wait", active)
    assert pair.status()["state"] == "unprotected" and pair.status()["flow"] is None
    pair.session.virsh("start", active)
    pair.wait_armed()
    assert pair.n_flows() == flows, "there was a failover"
    assert pair.active == active
    until(lambda: pair.running_on("db") == [active], 30, "the application runs where it was")


@pytest.mark.parametrize("stop", ["reboot", "shutdown"])
def test_announced_stop_fails_over_where_the_policy_says_so(unwilling, stop):
    old, new, flow = fault(unwilling, lambda vm: unwilling.guests[vm].send(f"{ANNOUNCE} {stop}"))
    assert f"announced its {stop}; policy: failover" in flow["cause"]
    rejoined(unwilling, old, new, flow)


def test_unannounced_reset_is_told_more_than_once_and_is_one_failure(pair):
    before = pair.n_flows()
    old, new, flow = fault(pair, lambda vm: pair.session.virsh("reset", vm))
    rejoined(pair, old, new, flow)
    assert pair.n_flows() == before + 1


def test_unannounced_power_off_is_a_failure(pair):
    old, new, flow = fault(pair, lambda vm: pair.guests[vm].send("poweroff -f"))
    rejoined(pair, old, new, flow)
