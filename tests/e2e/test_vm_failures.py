# SPDX-License-Identifier: LGPL-2.1-or-later
"""Failures of the active VM's system: all of them run the OS-failure flow, and the pair heals itself."""
import os
import signal

from expect import fault, moved, rejoined, said_times


def test_kernel_panic_moves_the_application_to_the_standby(pair):
    old, new, flow = fault(pair, pair.panic)
    assert "panic" in flow["cause"]
    rejoined(pair, old, new, flow)


def test_qemu_killed_moves_the_application_to_the_standby(pair):
    old, new, flow = fault(pair, pair.guests.kill)
    assert "QEMU process" in flow["cause"]
    rejoined(pair, old, new, flow)


def test_qemu_stopped_is_fenced_and_the_application_moves(pair):
    pid = pair.guests.pid(pair.active)
    old, new, flow = fault(pair, lambda vm: os.kill(pid, signal.SIGSTOP))
    assert pair.guests.pid(old) != pid, "the stopped QEMU is still there"
    rejoined(pair, old, new, flow)


def test_guest_hang_is_detected_and_the_application_moves(pair):
    """A real-time loop on every processor: the kernel lives, nothing else does."""
    def hang(vm):
        done = pair.failoverd.ctl("drill", "p", "--fault", "hang")
        assert done.returncode in (0, 5), done.stderr

    old, new, flow = fault(pair, hang)
    assert flow["drill"] and "hang" in flow["cause"]
    rejoined(pair, old, new, flow)


def test_triple_fault_is_told_more_than_once_and_moves_the_application_once(pair):
    """The guest's processor gives up. Which is heard of first is not certain: a reset, or that the guest shut down."""
    before = pair.n_flows()
    old, new, flow = fault(pair, lambda vm: pair.guests[vm].send("echo triple > /sys/kernel/reboot/type; reboot -f"))
    assert "without announcing it" in flow["cause"]
    rejoined(pair, old, new, flow)
    assert pair.n_flows() == before + 1
    assert said_times(pair, "decided", f"{flow['id']}:") == 1


def test_plain_application_ends_with_its_system_and_its_memory_returns_to_the_monitor(home):
    unused = home.failoverd.table()["unused"]["usage_bytes"]
    web = home.failoverd.table()["p:a:web"]
    assert web["target"]["name"] == "monitor"
    old, new, flow = fault(home, home.guests.kill)
    table = home.failoverd.table()
    assert "p:a:web" not in table and "p:b:web" not in table
    assert table["unused"]["usage_bytes"] == unused + web["usage_bytes"]
    assert home.running_on("web") == []
    rejoined(home, old, new, flow)


def test_region_lost_is_replaced_out_of_the_reserve(keeper, pair):
    """An uncorrected memory error (a machine check injected by QEMU's monitor) of the active VM."""
    active, standby = pair.active, pair.standby
    reserve = pair.failoverd.table()["reserve"]["usage_bytes"]
    before = pair.n_flows()
    pair.session.virsh("qemu-monitor-command", active, "--hmp",
                       "mce 0 9 0xbd00000000000000 0xd 0x100000000 0x8c")
    flow = pair.wait_failover(before)
    moved(pair, flow, "os-failure", active, standby)
    table = pair.failoverd.table()
    assert table["reserve"]["usage_bytes"] < reserve
    side = "a" if standby == "a" else "b"
    assert table[f"p:{side}:db"]["usage_bytes"] == 128 << 20, "the application has its full size"
    keeper.drop()   # the next test begins with a whole reserve
