# SPDX-License-Identifier: LGPL-2.1-or-later
"""Processors that an application takes along."""
import pytest

from expect import moved, rejoined
from testbed.policy import DB, policy
from testbed.stand import Stand
from testbed.wait import until

OPTIONS = ("--vcpus=1", "--max-vcpus=2")


@pytest.fixture(scope="module")
def stand():
    text = policy(applications=(DB + "        resources: {vcpus: 1}\n",))
    with Stand(text, "p", ("a", "b"), 192, [("db", 128)], domain_options=OPTIONS) as stand:
        yield stand


def online(pair, vm):
    """Processors that the guest uses."""
    return int(pair.shell(vm, "grep -c ^processor /proc/cpuinfo"))


def has_two(pair, vm):
    until(lambda: online(pair, vm) == 2, 20, f"{vm} uses the second processor")


def test_owner_has_the_processor_and_the_standby_has_not(pair):
    has_two(pair, pair.active)
    assert online(pair, pair.standby) == 1


def test_standby_gets_the_processor_when_the_active_vm_fails_and_the_new_standby_is_small_again(pair):
    old, new, before = pair.active, pair.standby, pair.n_flows()
    pair.guests.kill(old)
    flow = pair.wait_failover(before)
    moved(pair, flow, "os-failure", old, new)
    has_two(pair, new)
    rejoined(pair, old, new, flow)
    assert online(pair, old) == 1


def test_living_vm_keeps_its_processor_when_its_application_moves_and_lives_on(pair):
    """Taking it away kills QEMU 7.2 under emulation."""
    old, new, before = pair.active, pair.standby, pair.n_flows()
    pids = pair.qemus()
    pair.kill_app(old, "db", "KILL")
    moved(pair, pair.wait_failover(before), "application-failure", old, new)
    has_two(pair, new)
    pair.wait_armed()
    assert online(pair, old) == 2
    assert pair.qemus() == pids


def test_failoverd_started_anew_takes_no_processor_away(pair):
    active, pids = pair.active, pair.qemus()
    pair.failoverd.kill()
    pair.failoverd.start()
    pair.wait_armed(30)
    assert online(pair, active) == 2
    assert pair.qemus() == pids


def test_processor_set_offline_by_hand_stays_so(pair):
    active = pair.active
    pair.shell(active, "echo 0 > /sys/devices/system/cpu/cpu1/online")
    pair.kill_app(active, "db", "SEGV")
    until(lambda: pair.running_on("db") == [active] and pair.status()["state"] == "armed", 30, "it is restarted")
    assert online(pair, active) == 1
    pair.shell(active, "echo 1 > /sys/devices/system/cpu/cpu1/online")
