# SPDX-License-Identifier: LGPL-2.1-or-later
"""A QEMU that cannot be ended, because it waits for a disk that stands still: nothing that it may hold is started
elsewhere, status says so, and it goes on as soon as the process is gone."""
import contextlib
import os
import signal

import pytest

from expect import counts, moved, rejoined, said
from testbed.disk import disk_of
from testbed.policy import COUNTER, policy
from testbed.stand import Stand
from testbed.wait import until

DISK_MIB = 32
EXIT_UNPROTECTED = 4


@pytest.fixture(scope="module")
def stand():
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    stand = Stand(policy(applications=(COUNTER,)), "p", ("a", "b"), 192, [("db", 128)], start=False,
                  domain_options=lambda session, _: [f"--kept-disk=vdb:{session.path('disk/db.raw')}"])
    with stand, disk_of(stand, "disk", DISK_MIB):
        stand.session.make_disk("disk/db.raw", 16)
        stand.failoverd.start(stand.policy)
        yield stand


@pytest.fixture
def pair(pair):
    """An armed pair whose application counts on a disk, and the disk's file system can stand still."""
    counts(pair, pair.active)
    yield pair
    pair.disk.thaw()


def waits_for_its_disk(pid):
    """A thread of it is in a write that no signal ends."""
    states = set()
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/stat") as f:      # threads come and go
            states.add(f.read().rsplit(")", 1)[1].split()[0])
    return "D" in states


def test_standby_does_not_start_before_a_qemu_that_cannot_be_ended_is_gone(pair):
    old, new, before = pair.active, pair.standby, pair.n_flows()
    pid, counted = pair.guests.pid(old), pair.count(old, "db")
    pair.disk.freeze()
    until(lambda: waits_for_its_disk(pid), 30, "QEMU waits for its disk")
    os.kill(pid, signal.SIGKILL)
    until(lambda: said(pair, "fence-failed", f"is not proven stopped (QEMU pid {pid})", old), 120,
          "failoverd gives up to believe in the fence")

    status = pair.status()
    assert status["state"] == "failover" and status["flow"] is not None
    loud = f"{old}: not proven stopped; end its QEMU process (pid {pid}) or the host, nothing starts elsewhere before"
    assert loud in status["reasons"], status["reasons"]
    told = pair.failoverd.ctl("status", "p")
    assert told.returncode == EXIT_UNPROTECTED and "not proven stopped" in told.stdout, told.stdout
    assert new not in pair.running_on("db")
    assert pair.shell(new, "cat /run/db.from 2>/dev/null") == "", "it has been started there"
    assert "vdb" not in pair.session.virsh("domblklist", new).stdout

    pair.disk.thaw()
    flow = pair.wait_failover(before, 60)
    moved(pair, flow, "os-failure", old, new)
    assert int(pair.shell(new, "cat /run/db.from")) >= counted, "it does not go on from what is on its disk"
    rejoined(pair, old, new, flow)
