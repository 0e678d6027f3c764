# SPDX-License-Identifier: LGPL-2.1-or-later
"""What looks like a failure of the active VM and is none, or is somebody else's doing: nothing is done."""
import os
import signal

import pytest

from expect import said
from testbed.wait import stays, until

LONG_ENOUGH = 6     # seconds: three times what detecting a hang takes


@pytest.fixture
def quiet(pair):
    """An armed pair, and the check that nothing was done to it."""
    active, flows = pair.active, pair.n_flows()
    pids = pair.qemus()
    yield pair
    assert pair.n_flows() == flows, "there was a failover"
    assert pair.active == active
    assert pair.qemus() == pids, "a guest was touched"


def agent_pid(pair, vm):
    return int(pair.shell(vm, "cat /run/agent.pid"))


def test_agent_stopped_in_an_idle_guest_is_no_failure_of_the_system(quiet):
    active = quiet.active
    quiet.shell(active, f"kill -STOP {agent_pid(quiet, active)}")
    until(lambda: quiet.member(active)["verdict"] == "silent", 15, "its kernel was heard")
    stays(lambda: quiet.active == active and quiet.status()["flow"] is None, LONG_ENOUGH, "nothing moves")
    assert quiet.status()["state"] == "unprotected"
    assert any(active in reason and "agent is silent" in reason for reason in quiet.status()["reasons"])
    quiet.shell(active, f"kill -CONT {agent_pid(quiet, active)}")
    quiet.wait_armed(20)


def test_agent_stopped_in_a_busy_guest_is_no_failure_of_the_system(quiet):
    active = quiet.active
    quiet.shell(active, "(while :; do :; done) >/dev/null 2>&1 & echo $! > /run/busy.pid")
    quiet.shell(active, f"kill -STOP {agent_pid(quiet, active)}")
    until(lambda: quiet.member(active)["verdict"] == "silent", 15, "its kernel was heard")
    stays(lambda: quiet.active == active and quiet.status()["flow"] is None, LONG_ENOUGH, "nothing moves")
    quiet.shell(active, f"kill -CONT {agent_pid(quiet, active)}; kill -9 $(cat /run/busy.pid)")
    quiet.wait_armed(20)


def test_busy_guest_is_no_failure(quiet):
    active = quiet.active
    quiet.shell(active, "(while :; do :; done) >/dev/null 2>&1 & echo $! > /run/busy.pid")
    stays(lambda: quiet.status()["flow"] is None, LONG_ENOUGH, "nothing moves")
    quiet.shell(active, "kill -9 $(cat /run/busy.pid)")


def test_agent_killed_comes_back_and_finds_its_application_running(quiet):
    active = quiet.active
    app = quiet.app_pid(active, "db")
    quiet.shell(active, f"kill -KILL {agent_pid(quiet, active)}")
    quiet.wait_armed(30)
    assert quiet.app_pid(active, "db") == app, "the application was started anew"
    assert quiet.running_on("db") == [active]


def test_agent_that_stays_away_is_no_failure_of_the_system(quiet):
    """Its end closes the terminal that echoes for the host, too: somebody else has to hold it open."""
    active, app = quiet.active, quiet.app_pid(quiet.active, "db")
    quiet.shell(active, "mv /usr/bin/failover-agent /usr/bin/agent.away; kill -KILL $(cat /run/agent.pid)")
    try:
        until(lambda: quiet.member(active)["verdict"] == "silent", 15, "its kernel was heard")
        stays(lambda: quiet.active == active and quiet.status()["flow"] is None, LONG_ENOUGH, "nothing moves")
    finally:
        quiet.shell(active, "mv /usr/bin/agent.away /usr/bin/failover-agent")
    quiet.wait_armed(30)
    assert quiet.app_pid(active, "db") == app, "the application was started anew"


def test_operator_suspends_the_active_vm_and_nothing_is_done(quiet):
    active = quiet.active
    quiet.session.virsh("suspend", active)
    until(lambda: quiet.member(active)["operator_hold"], 10, "failoverd has seen it")
    stays(lambda: quiet.guests.state(active) == "paused", LONG_ENOUGH, "it is left alone")
    assert any("suspended by an operator" in reason for reason in quiet.status()["reasons"])
    assert said(quiet, "ignored", "not by failoverd", active)
    quiet.session.virsh("resume", active)
    quiet.wait_armed(20)


def test_libvirtd_stopped_is_no_failure_of_a_vm(quiet):
    os.kill(quiet.session.libvirtd.pid, signal.SIGSTOP)
    try:
        stays(lambda: quiet.status()["flow"] is None, LONG_ENOUGH, "nothing moves")
    finally:
        os.kill(quiet.session.libvirtd.pid, signal.SIGCONT)
    quiet.wait_armed(30)


def test_libvirtd_killed_is_no_failure_of_a_vm_and_its_successor_is_used(quiet):
    count = quiet.count(quiet.active, "db")
    quiet.session.libvirtd.kill()
    quiet.session.libvirtd.wait()
    until(lambda: quiet.status()["state"] == "unknown", 20, "failoverd says that it does not know")
    assert quiet.failoverd.json("status")["hypervisor"]["up"] is False
    quiet.session.start_libvirtd()
    quiet.wait_armed(30)
    assert quiet.count(quiet.active, "db") > count, "the application has run on"


def test_failoverd_stopped_for_a_while_doubts_itself_and_does_nothing(quiet):
    quiet.failoverd.signal(signal.SIGSTOP)
    try:
        # Nothing can be asked of it meanwhile; the guest's own clock tells when five seconds are over.
        quiet.shell("a", "sleep 5", 30)
    finally:
        quiet.failoverd.signal(signal.SIGCONT)
    stays(lambda: quiet.status()["flow"] is None, LONG_ENOUGH, "nothing moves")
    quiet.wait_armed(20)


def test_operator_destroys_the_active_vm_and_nothing_is_done(pair):
    active, flows = pair.active, pair.n_flows()
    pair.session.virsh("destroy", active)
    until(lambda: pair.member(active)["operator_hold"], 10, "failoverd has seen it")
    stays(lambda: pair.guests.state(active) == "shut off", LONG_ENOUGH, "it is left alone")
    assert pair.n_flows() == flows
    assert said(pair, "ignored", "ended by an operator", active)
    pair.session.virsh("start", active)
    pair.wait_armed()
    assert pair.active == active
