# SPDX-License-Identifier: LGPL-2.1-or-later
"""A pair of different systems with different programs for the same job: an initramfs with a command, and a full Debian
with systemd and a unit."""
import pytest

from expect import fault, moved, rejoined, said
from testbed.guests import BUILD
from testbed.policy import policy
from testbed.stand import Stand
from testbed.wait import until

BOOT_SECONDS = 180      # systemd boots in 20 s under emulation; beside other load it takes far longer
DEBIAN_MIB = 384
DB = """\
      - name: db
        kind: hot-standby
        memory: 128MiB
        start:
          active: {command: [/usr/bin/fill, run, db, "96"]}
          standby: {unit: db.service}
        health: {command: [/usr/bin/fill, check, db], interval: 500ms, timeout: 500ms, failures: 3, grace: 10s}
        stop-timeout: 5s
        restart: {budget: 1, within: 15s, expected: 500ms}
        severity:
          - {signal: KILL, is: major}
"""


def options(session, domain):
    if domain == "a":
        return ()
    disk = session.copy(f"{BUILD}/guest/debian.ext4", "img/debian.ext4")
    return f"--base={DEBIAN_MIB}", f"--disk=vda:{disk}", "--cmdline=ROOT_DISK=vda"


@pytest.fixture(scope="module")
def stand():
    text = policy(pool="1280MiB", applications=(DB,))
    text = text.replace("{domain: b, base: 192MiB}", f"{{domain: b, base: {DEBIAN_MIB}MiB}}")
    with Stand(text, "p", ("a", "b"), 192, [("db", 128)], domain_options=options) as stand:
        yield stand


@pytest.fixture
def mixed(stand, request):
    request.node.stand = stand
    stand.wait_armed(BOOT_SECONDS)
    return stand


def unit_state(mixed):
    return mixed.shell("b", "systemctl is-active db.service").strip()


def test_pair_of_different_systems_is_armed(mixed):
    assert mixed.active == "a"
    systems = {m["domain"]: m["agent"]["system"] for m in mixed.status()["members"]}
    assert systems["a"] != systems["b"] and "systemd" in systems["b"], systems
    assert unit_state(mixed) == "inactive"


def test_rehearsal_on_the_full_system_starts_nothing(mixed):
    flows, pid = mixed.n_flows(), mixed.app_pid("a", "db")
    done = mixed.failoverd.must("drill", "p", "--level", "rehearse")
    assert "rehearsed 128 of 128 MiB" in done.stdout, done.stdout
    assert unit_state(mixed) == "inactive"
    until(lambda: mixed.status()["rehearsal"] is None, 60, "the memory is given back")
    mixed.wait_armed()
    assert mixed.app_pid("a", "db") == pid and mixed.n_flows() == flows


def test_application_failure_starts_the_unit_on_the_full_system(mixed):
    before = mixed.n_flows()
    mixed.kill_app("a", "db", "KILL")
    flow = mixed.wait_failover(before, 60)
    moved(mixed, flow, "application-failure", "a", "b")
    print(f"recovered in {flow['recovery_usec'] / 1e6:.3f} s")
    assert unit_state(mixed) == "active"
    rejoined(mixed, "a", "b", flow)


def test_restarted_bus_of_the_guest_is_no_failure_and_the_units_end_after_it_is_seen(mixed):
    flows, pid = mixed.n_flows(), mixed.app_pid("b", "db")
    bus = mixed.shell("b", "systemctl show -P MainPID dbus.service").strip()
    mixed.shell("b", "systemctl restart dbus.service")
    assert mixed.shell("b", "systemctl show -P MainPID dbus.service").strip() not in ("0", bus)
    assert mixed.app_pid("b", "db") == pid and mixed.running_on("db") == ["b"]
    mixed.kill_app("b", "db", "SEGV")
    until(lambda: mixed.running_on("db") == ["b"] and mixed.app_pid("b", "db") != pid, 30, "it is restarted on b")
    mixed.wait_armed(30)
    assert mixed.n_flows() == flows and unit_state(mixed) == "active"
    assert said(mixed, "restarted", "db failed on b")


def test_unit_killed_moves_to_the_small_system(mixed):
    before = mixed.n_flows()
    mixed.kill_app("b", "db", "KILL")
    flow = mixed.wait_failover(before, 60)
    moved(mixed, flow, "application-failure", "b", "a")
    print(f"recovered in {flow['recovery_usec'] / 1e6:.3f} s")
    assert unit_state(mixed) in ("inactive", "failed")
    rejoined(mixed, "b", "a", flow)


def test_panic_of_the_full_system_moves_the_application_and_it_boots_again_as_the_standby(mixed):
    mixed.failoverd.must("switch", "p")
    mixed.wait_armed(30)
    assert mixed.active == "b"
    _, _, flow = fault(mixed, mixed.panic, seconds=60)
    print(f"recovered in {flow['recovery_usec'] / 1e6:.3f} s")
    mixed.wait_armed(BOOT_SECONDS)
    rejoined(mixed, "b", "a", flow)


def test_reboot_of_the_full_system_is_announced_by_its_agent_and_waited_for(mixed):
    flows, pid = mixed.n_flows(), mixed.guests.pid("b")
    mixed.guests["b"].send("systemctl --no-block reboot")
    until(lambda: mixed.guests.pid("b") not in (None, pid), BOOT_SECONDS, "it is started again")
    assert said(mixed, "ignored", "announced", "b")
    mixed.wait_armed(BOOT_SECONDS)
    assert mixed.n_flows() == flows
