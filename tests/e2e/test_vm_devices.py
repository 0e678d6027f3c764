# SPDX-License-Identifier: LGPL-2.1-or-later
"""Devices that tell of a failure of the active VM's system: its watchdog, and a disk that the host has no room for."""
import pytest

from expect import fault, rejoined, said, said_times
from testbed.faulty_disk import FaultyDisk
from testbed.policy import DB, policy
from testbed.stand import Stand
from testbed.wait import until

WATCHDOG_ACTIONS = {"a": "pause", "b": "reset"}

# Debian's cloud kernel has no driver of it, and configuration space is all that it takes to let it run: with a clock of
# 1 MHz (0x60) it fires two seconds after it was enabled (0x68), if nobody pats it.
START_WATCHDOG = """\
cd /sys/bus/pci/devices/$(cd /sys/bus/pci/devices && grep -l 0x25ab */device | cut -d/ -f1) &&
printf '\\004\\000' | dd of=config bs=2 seek=48 conv=notrunc &&
printf '\\002' | dd of=config bs=1 seek=104 conv=notrunc""".replace("\n", " ")

# Past what the guest's kernel has read to look for partitions.
READ = "echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/vda of=/dev/null bs=4k skip=2000 count=1"
WRITE = "dd if=/dev/urandom of=/dev/vda bs=4k count=1 conv=fsync"


@pytest.fixture(scope="module")
def stand():
    disks = {}

    def options(session, domain):
        disks[domain] = FaultyDisk(session, domain)
        return f"--watchdog={WATCHDOG_ACTIONS[domain]}", f"--nbd-disk=vda:{disks[domain].socket}"

    with Stand(policy(applications=(DB,)), "p", ("a", "b"), 192, [("db", 128)], domain_options=options) as stand:
        stand.disks = disks
        yield stand


@pytest.mark.parametrize("vm", WATCHDOG_ACTIONS, ids=[f"action-{action}" for action in WATCHDOG_ACTIONS.values()])
def test_watchdog_that_nobody_pats_moves_the_application(pair, vm):
    if pair.active != vm:
        pair.failoverd.must("switch", "p")
        pair.wait_armed()
    before = pair.n_flows()
    old, new, flow = fault(pair, lambda vm: pair.guests[vm].send(START_WATCHDOG))
    assert "watchdog" in flow["cause"]
    rejoined(pair, old, new, flow)
    assert pair.n_flows() == before + 1
    assert said_times(pair, "decided", f"{flow['id']}:") == 1


def test_disk_that_the_host_has_no_room_for_pauses_the_vm_and_the_application_moves(pair):
    disk = pair.disks[pair.active]
    with disk.failing("writes"):
        old, new, flow = fault(pair, lambda vm: pair.guests[vm].send(WRITE))
    assert "disk error" in flow["cause"] and "enospc" in flow["cause"]
    rejoined(pair, old, new, flow)


def test_disk_error_that_the_guest_is_told_of_is_its_own_affair(pair):
    active, flows, pid = pair.active, pair.n_flows(), pair.guests.pid(pair.active)
    with pair.disks[active].failing("reads"):
        assert "Input/output error" in pair.shell(active, READ)
        until(lambda: said(pair, "ignored", "its guest was told of a disk error", active), 10, "it is said")
    assert pair.status()["state"] == "armed"
    assert (pair.active, pair.n_flows(), pair.guests.pid(active)) == (active, flows, pid)
