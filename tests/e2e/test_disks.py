# SPDX-License-Identifier: LGPL-2.1-or-later
"""A disk that an application takes along: attached to the side that owns it, and to no other at any time."""
import os
import signal

import pytest

from expect import counts, moved, phases, rejoined, said
from testbed.policy import COUNTER, policy
from testbed.stand import Stand
from testbed.wait import until

# A guest is told of an unplug by this ACPI event; masked, it does not hear of it and keeps the disk.
UNPLUG_EVENT = "/sys/firmware/acpi/interrupts/gpe01"


def counter_policy(stuck):
    return policy(pair={"act-timeout": "3s", "exclusive-stuck": stuck}, applications=(COUNTER,))


def disk_options(session, domain):
    return [f"--kept-disk=vdb:{session.make_disk('img/db.raw', 16)}"]


@pytest.fixture(scope="module")
def stand():
    with Stand(counter_policy("refuse"), "p", ("a", "b"), 192, [("db", 128)], domain_options=disk_options) as stand:
        yield stand


@pytest.fixture
def disks(pair):
    """An armed pair whose application counts on the disk vdb."""
    counts(pair, pair.active)
    return pair


def attached(stand, vm):
    """By libvirt, and the guest's kernel has it too."""
    return "vdb" in stand.session.virsh("domblklist", vm).stdout


def found_by_guest(stand, vm):
    return "vdb" in stand.shell(vm, "cat /sys/block/vd*/serial 2>/dev/null").split()


def started_from(stand, vm):
    return int(stand.shell(vm, "cat /run/db.from"))


def goes_on(stand, vm, last):
    """It has started from that number, or a later one. What /run has may be of an earlier run there, until this one has
    found its disk."""
    until(lambda: started_from(stand, vm) >= last, 10, f"db goes on from {last}")


def on_disk(stand):
    with open(stand.session.path("img/db.raw"), "rb") as f:
        return int(f.read(15) or 0)


def test_disk_is_attached_to_its_owner_alone(disks):
    owner, other = disks.active, disks.standby
    assert attached(disks, owner) and found_by_guest(disks, owner)
    assert not attached(disks, other) and not found_by_guest(disks, other)
    assert on_disk(disks) > 0


def test_failed_applications_disk_leaves_the_living_vm_before_the_other_gets_it(disks):
    old, new, before = disks.active, disks.standby, disks.n_flows()
    pid = disks.guests.pid(old)
    disks.kill_app(old, "db", "KILL")
    last = on_disk(disks)
    flow = disks.wait_failover(before)
    moved(disks, flow, "application-failure", old, new)
    assert last > 0
    goes_on(disks, new, last)
    assert not attached(disks, old) and not found_by_guest(disks, old)
    assert attached(disks, new)
    assert disks.guests.pid(old) == pid, "the VM lives on"
    rejoined(disks, old, new, flow)


@pytest.mark.parametrize("fault", ["panic", "qemu-killed", "qemu-stopped"])
def test_failed_systems_disk_is_attached_once_its_process_is_gone(disks, fault):
    old, new, before = disks.active, disks.standby, disks.n_flows()
    pid, last = disks.guests.pid(old), on_disk(disks)
    if fault == "panic":
        disks.panic(old)
    else:
        os.kill(pid, signal.SIGKILL if fault == "qemu-killed" else signal.SIGSTOP)
    flow = disks.wait_failover(before)
    moved(disks, flow, "os-failure", old, new)
    assert not os.path.exists(f"/proc/{pid}") or disks.guests.pid(old) != pid
    assert said(disks, "fenced", "its process is gone", old)
    assert phases(flow)["started"] >= phases(flow)["fenced"]
    assert last > 0
    goes_on(disks, new, last)
    assert "Failed to get" not in disks.failoverd.log(200), "QEMU's lock never had to keep the two apart"
    rejoined(disks, old, new, flow)


def test_switch_takes_the_disk_along(disks):
    old, new, before = disks.active, disks.standby, disks.n_flows()
    pids = disks.qemus()
    disks.failoverd.must("switch", "p")
    moved(disks, disks.wait_failover(before), "switch", old, new)
    assert attached(disks, new) and not attached(disks, old)
    assert disks.qemus() == pids
    disks.wait_armed()


def test_application_restarted_in_place_keeps_its_disk(disks):
    active, before = disks.active, disks.n_flows()
    pid, last = disks.app_pid(active, "db"), on_disk(disks)
    disks.kill_app(active, "db", "SEGV")
    until(lambda: disks.app_pid(active, "db") != pid, 20, "it is restarted")
    disks.wait_armed(30)
    goes_on(disks, active, last)
    assert disks.n_flows() == before


def test_vm_that_does_not_let_go_is_refused_and_nothing_starts_elsewhere(disks):
    old, new, before = disks.active, disks.standby, disks.n_flows()
    disks.shell(old, f"echo mask > {UNPLUG_EVENT}")
    disks.kill_app(old, "db", "KILL")
    flow = disks.wait_failover(before)
    assert not flow["ok"] and "does not let go" in flow["text"]
    assert said(disks, "refused", "policy: refuse, nothing is started elsewhere", old)
    assert attached(disks, old) and not attached(disks, new)
    until(lambda: disks.running_on("db") == [old], 20, "it is started again where it was")
    counts(disks, old)


def test_guest_that_lets_go_late_costs_the_application_a_restart_and_no_data(disks):
    """Goes on where the test before has ended: the guest still has the host's request, and now follows it. The
    application ends without its disk and is started with it again: there, or on the other side where it failed at once
    too often, which its agent calls hard to repair."""
    active = disks.active
    pid, last = disks.app_pid(active, "db"), on_disk(disks)
    disks.shell(active, f"echo unmask > {UNPLUG_EVENT}")
    until(lambda: disks.app_pid(active, "db") != pid, 30, "it has lost its disk and is started again")
    disks.wait_armed(60)
    active = disks.active
    until(lambda: attached(disks, active) and found_by_guest(disks, active), 10, "its disk is there")
    goes_on(disks, active, last)
    until(lambda: on_disk(disks) > started_from(disks, active), 10, "it counts on")


def test_vm_that_does_not_let_go_is_fenced_where_the_policy_says_so(disks):
    disks.apply(counter_policy("fence-vm"))
    disks.wait_armed()
    old, new, before = disks.active, disks.standby, disks.n_flows()
    disks.shell(old, f"echo mask > {UNPLUG_EVENT}")
    pid, last = disks.guests.pid(old), on_disk(disks)
    disks.kill_app(old, "db", "KILL")
    flow = disks.wait_failover(before)
    moved(disks, flow, "os-failure", old, new)
    assert disks.guests.pid(old) != pid, "the VM that held on was ended"
    assert said(disks, "decided", "policy: fence-vm", old)
    goes_on(disks, new, last)
    rejoined(disks, old, new, flow)


def test_domain_that_holds_an_applications_disk_at_boot_is_not_armed_and_says_why(disks):
    standby = disks.standby
    xml = disks.session.virsh("dumpxml", "--inactive", standby).stdout
    wrong = xml.replace("</devices>", f"""<disk type='file' device='disk'><driver name='qemu' type='raw'/>
        <source file='{disks.session.path("img/db.raw")}'/><target dev='vdb' bus='virtio'/></disk></devices>""")
    disks.session.virsh("define", disks.session.write("wrong.xml", wrong))
    disks.guests.kill(standby)
    until(lambda: any("disk vdb of db is attached whenever the domain starts" in reason
                      for reason in disks.status()["reasons"]), 60, "status says what is wrong and how to mend it")
    disks.session.virsh("define", disks.session.write("right.xml", xml))
    disks.wait_armed(120)
