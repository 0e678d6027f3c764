# SPDX-License-Identifier: LGPL-2.1-or-later
"""A second fault in the very middle of a failover. failoverd stops itself at a given point of it, the fault happens,
and it goes on: the pair comes to be armed again, the application never runs twice, its disk and its memory have one
owner."""
import os
import signal

import pytest

from expect import counts, owned_once
from testbed.crash import CrashStand
from testbed.wait import until

DAY = 24 * 3600


@pytest.fixture(scope="module")
def stand():
    with CrashStand() as stand:
        yield stand


@pytest.fixture
def pair(stand, request):
    request.node.stand = stand
    stand.set_clock(0)
    stand.crash_at("")
    stand.go_on()       # where the test before has ended too early
    stand.wait_armed()
    counts(stand, stand.active)
    return stand


def in_the_middle(pair, kind, point):
    """Causes a failover and stops failoverd at that point of it. Returns active and standby before it."""
    sides = pair.active, pair.standby
    pair.crash_at(f"stop {point}")
    getattr(pair, kind)()
    pair.wait_stopped()
    pair.crash_at("")
    return sides


def seconds_pass(pair, vm, seconds):
    """By a guest's own clock, since nothing else here may just wait."""
    pair.shell(vm, f"sleep {seconds}", seconds + 60)


def ends_well(pair):
    pair.wait_armed(150)
    owned_once(pair)


@pytest.mark.parametrize("kind, point", [("panic", "after:freeze:1"), ("kill", "after:send-stop:1"),
                                         ("kill", "after:send-start:1")])
def test_failoverd_stopped_for_five_seconds(pair, kind, point):
    _, standby = in_the_middle(pair, kind, point)
    seconds_pass(pair, standby, 5)
    pair.go_on()
    ends_well(pair)


@pytest.mark.parametrize("kind, point", [("panic", "before:freeze:1"), ("panic", "after:resize:1"),
                                         ("kill", "after:detach-disk:1"), ("kill", "after:attach-disk:1")])
def test_libvirtd_restarted(pair, kind, point):
    in_the_middle(pair, kind, point)
    pair.session.libvirtd.kill()
    pair.session.libvirtd.wait()
    pair.go_on()
    until(lambda: pair.failoverd.json("status")["hypervisor"]["up"] is False, 20, "failoverd has noticed")
    pair.session.start_libvirtd()
    until(lambda: pair.failoverd.json("status")["hypervisor"]["up"], 20, "failoverd has found its successor")
    ends_well(pair)


def test_libvirtd_stopped_for_thirty_seconds(pair):
    _, standby = in_the_middle(pair, "panic", "before:freeze:1")
    libvirtd = pair.session.libvirtd.pid
    os.kill(libvirtd, signal.SIGSTOP)
    try:
        pair.go_on()
        seconds_pass(pair, standby, 30)
    finally:
        os.kill(libvirtd, signal.SIGCONT)
    ends_well(pair)


def test_standby_stopped_while_it_takes_over(pair):
    _, standby = in_the_middle(pair, "panic", "after:resize:1")
    pair.guests.kill(standby, signal.SIGSTOP)
    pair.go_on()
    ends_well(pair)


def test_active_vm_stopped_before_its_application_has(pair):
    active, _ = in_the_middle(pair, "kill", "before:send-stop:1")
    pair.guests.kill(active, signal.SIGSTOP)
    pair.go_on()
    ends_well(pair)


@pytest.mark.parametrize("side, point", [("active", "after:send-stop:1"), ("standby", "after:send-attach:1"),
                                         ("standby", "after:send-start:1")])
def test_agent_killed_in_mid_command(pair, side, point):
    sides = dict(zip(("active", "standby"), in_the_middle(pair, "kill", point)))
    vm = sides[side]
    agent = pair.shell(vm, "cat /run/agent.pid").strip()
    pair.shell(vm, f"kill -KILL {agent}")
    pair.go_on()
    until(lambda: pair.shell(vm, "cat /run/agent.pid").strip() != agent, 60, "it has a successor")
    ends_well(pair)


@pytest.mark.parametrize("seconds", [DAY, -DAY])
def test_clock_stepped_by_a_day(pair, seconds):
    in_the_middle(pair, "kill", "after:persist-owner:1")
    pair.set_clock(seconds)
    pair.go_on()
    ends_well(pair)
    # and back, at rest: that is no failure either
    flows = pair.n_flows()
    pair.set_clock(0)
    seconds_pass(pair, pair.active, 3)
    assert pair.n_flows() == flows and pair.status()["state"] == "armed"


@pytest.mark.parametrize("point", ["before:persist-owner:1", "result:persist-owner:1"])
def test_power_lost(pair, point):
    """Before it is on disk who owns the data now, and after."""
    sides = in_the_middle(pair, "panic", point)
    pair.lose_power()
    pair.session.start_libvirtd()
    pair.start()
    ends_well(pair)
    assert pair.active == sides[point.startswith("result")]
