# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an operator asks for with failoverctl."""
from expect import moved, rejoined, said
from testbed.wait import stays, until


def test_switch_moves_the_application_and_return_brings_it_home(home):
    for verb, old, new in (("switch", "a", "b"), ("return", "b", "a")):
        pids = home.qemus()
        before = home.n_flows()
        home.failoverd.must(verb, "p")
        flow = home.wait_failover(before)
        moved(home, flow, verb, old, new)
        rejoined(home, old, new, flow)
        assert home.qemus() == pids, "a planned move ends no VM"


def test_dry_run_prints_the_plan_and_does_nothing(pair):
    active, flows = pair.active, pair.n_flows()
    for words in (("switch", "p"), ("drill", "p", "--fault", "panic")):
        done = pair.failoverd.must(*words, "--dry-run")
        assert "nothing was done" in done.stdout and " 1. " in done.stdout
    assert pair.active == active and pair.n_flows() == flows and pair.status()["state"] == "armed"


def test_paused_pair_does_not_fail_over_until_it_is_resumed(pair):
    active, standby, before = pair.active, pair.standby, pair.n_flows()
    pair.failoverd.must("pause", "p", "--reason", "kernel update")
    until(lambda: any("kernel update" in reason for reason in pair.status()["reasons"]), 5, "status says why")
    pair.guests.kill(active)
    until(lambda: said(pair, "ignored", "the pair is paused"), 10, "it says that it does nothing")
    stays(lambda: pair.status()["flow"] is None and pair.guests.pid(active) is None, 3, "nothing is done")
    pair.failoverd.must("resume", "p")
    flow = pair.wait_failover(before)
    moved(pair, flow, "os-failure", active, standby)
    rejoined(pair, active, standby, flow)


def test_return_of_a_pair_that_is_at_home_says_so(home):
    flows = home.n_flows()
    done = home.failoverd.ctl("return", "p")
    assert done.returncode in (0, 1)
    assert done.stdout or done.stderr
    assert home.n_flows() == flows and home.active == "a"


def test_failoverctl_tells_about_a_pair_that_is_not_there(pair):
    done = pair.failoverd.ctl("switch", "nobody")
    assert done.returncode == 1
    assert 'no pair is called "nobody"' in done.stderr


def test_flap_limit_holds_the_pair_and_says_so(keeper, pair):
    """A pair that keeps failing is stopped in a stated state; a person lets it go on."""
    limited = pair.policy.replace("flap: {failovers: 16, within: 1min", "flap: {failovers: 1, within: 1h")
    pair.apply(limited)
    for _ in range(2):      # the first may be within the limit still, if no test before had a failover
        pair.guests.kill(pair.active)
        pair.failoverd.wait_state("p", ["held", "failover"], 20)
        if pair.failoverd.wait_state("p", ["held", "armed"], 90)["state"] == "held":
            break
    status = pair.status()
    assert status["state"] == "held" and "flap limit" in status["held"]["reason"]
    keeper.drop()
