# SPDX-License-Identifier: LGPL-2.1-or-later
"""The disk under the store is full, or stalls, in the middle of a failover: it goes on, says so, and loses nothing."""
import os
import shutil
import time

import pytest

from expect import moved, phases, rejoined
from testbed.disk import disk_of
from testbed.policy import DB, WEB, policy
from testbed.stand import Stand
from testbed.wait import stays, until

STALL_SECONDS = 30
OWNER_WRITE_SECONDS = 2     # that a start waits for the write of who owns the data
DISK_MIB = 16


@pytest.fixture(scope="module")
def stand():
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    stand = Stand(policy(applications=(DB, WEB)), "p", ("a", "b"), 192, [("db", 128), ("web", 64)], start=False)
    with stand, disk_of(stand, "state", DISK_MIB):
        stand.failoverd.start(stand.policy)
        yield stand


@pytest.fixture
def pair(pair):
    until(lambda: pair.failoverd.json("status")["store"]["up"], 30, "the store has all the room that it wants")
    yield pair
    pair.disk.thaw()


def owner(pair):
    return pair.application("db")["owner"]["domain"]


def ended(pair, failed):
    """The next failover, as status has it: history may not have it yet."""
    until(lambda: pair.status()["failovers"] == failed + 1 and pair.status()["flow"] is None, 60, "the failover ends")
    return pair.status()["last_flow"]


def restarted_from_disk(pair):
    """failoverd dies, and with it goes what it kept for this boot alone, as in a power loss."""
    pair.failoverd.kill()
    shutil.rmtree(pair.session.path("runtime"))
    pair.session.make_dir("runtime")
    pair.failoverd.start()


def test_full_disk_in_mid_failover_does_not_delay_it_and_loses_nothing(pair):
    active, standby, before, failed = pair.active, pair.standby, pair.n_flows(), pair.status()["failovers"]
    pair.disk.fill()
    try:
        pair.guests.kill(active)
        flow = ended(pair, failed)
        at = phases(flow)
        assert at["started"] - at["plugged"] < OWNER_WRITE_SECONDS, at
        assert pair.running_on("db") == [standby]
        told = pair.failoverd.json("status")["store"]
        assert told["up"] is False and "disk is full" in told["error"], told
        pair.wait_armed()
    finally:
        pair.disk.empty()
    until(lambda: pair.failoverd.json("status")["store"]["up"], 30, "there is room again")
    until(lambda: len(pair.failoverd.flows("p")) > before, 30, "history, which waited, is written")
    moved(pair, pair.failoverd.flows("p")[0], "os-failure", active, standby)
    rejoined(pair, active, standby, flow)
    restarted_from_disk(pair)
    assert owner(pair) == standby
    pair.wait_armed()


def test_failoverd_starts_on_a_full_disk_and_knows_who_owns_the_data(pair):
    active, failed = pair.active, pair.status()["failovers"]
    pair.disk.fill()
    try:
        pair.failoverd.must("switch", "p")
        flow = ended(pair, failed)
        restarted_from_disk(pair)
        assert owner(pair) == flow["to"]["domain"] != active
        pair.wait_armed()
    finally:
        pair.disk.empty()


def test_disk_that_stalls_in_mid_failover_delays_it_by_two_seconds_and_is_told(pair):
    active, standby = pair.active, pair.standby
    failed = pair.status()["failovers"]
    pair.disk.freeze()
    began = time.monotonic()
    pair.guests.kill(active)
    ended(pair, failed)
    assert pair.running_on("db") == [standby]
    assert time.monotonic() - began < STALL_SECONDS, "it waited for the disk"
    status = pair.status()
    assert status["state"] != "armed"
    at = phases(status["last_flow"])
    assert OWNER_WRITE_SECONDS - 0.5 < at["started"] < OWNER_WRITE_SECONDS + 3, at
    assert any("the store is not written in time" in reason for reason in status["reasons"]), status["reasons"]

    # History cannot be read, and who asks is told so; nobody else waits for the disk.
    pair.apply(pair.policy, seconds=5)
    asked = pair.failoverd.ctl("history", "p", seconds=20)
    assert asked.returncode != 0 and "stalls" in asked.stderr, asked.stderr
    stays(lambda: pair.failoverd.ctl("status", "p", seconds=5).returncode in (0, 4),
          max(0, STALL_SECONDS - (time.monotonic() - began)), "failoverd answers meanwhile")

    pair.disk.thaw()
    until(lambda: not any("store" in reason for reason in pair.status()["reasons"]), 30, "the write is seen to be safe")
    pair.wait_armed()
    flow = pair.failoverd.flows("p")[0]
    moved(pair, flow, "os-failure", active, standby)
    restarted_from_disk(pair)
    assert owner(pair) == standby
    pair.wait_armed()
    assert pair.failoverd.flows("p")[0]["id"] == flow["id"]
