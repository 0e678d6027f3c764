# SPDX-License-Identifier: LGPL-2.1-or-later
"""failoverd as a service of one user's systemd, for qemu:///session."""
import pytest

from expect import counts, counts_further, fault, life, rejoined
from testbed.policy import policy
from testbed.system import UserStand, obstacle
from testbed.wait import until

UNIT, LIBVIRTD = "failoverd.service", "failoverd-libvirtd.service"


@pytest.fixture(scope="module")
def session():
    why = obstacle()
    if why:
        pytest.skip(why)
    stand = UserStand(policy(), "p", ("a", "b"), 192, [("db", 128), ("web", 64)])
    yield stand
    stand.close()


@pytest.fixture
def service(session, request):
    request.node.stand = session
    session.session.systemctl("start", UNIT)
    session.wait_armed(120)
    return session


def test_libvirtd_and_guests_are_no_part_of_failoverds_service(service):
    guests = {service.guests.pid(vm) for vm in service.domains}
    assert len(service.session.unit_pids(UNIT)) == 1
    assert guests <= set(service.session.unit_pids(LIBVIRTD))


def test_stopped_failoverd_leaves_libvirtd_guests_and_applications_alone(service):
    before, flows = life(service), service.n_flows()
    active, libvirtd = before[0], service.session.unit_pids(LIBVIRTD)
    counts(service, active)
    service.session.systemctl("stop", UNIT)
    assert service.session.unit_pids(LIBVIRTD) == libvirtd
    counts_further(service, active)
    service.session.systemctl("start", UNIT)
    service.wait_armed(60)
    assert life(service) == before and service.n_flows() == flows


def test_libvirtd_killed_comes_back_in_its_own_place_and_guests_run_on(service):
    before, flows = life(service), service.n_flows()
    service.session.systemctl("kill", "--kill-whom=main", "-s", "SIGKILL", LIBVIRTD)
    until(lambda: service.session.virsh("uri", check=False).returncode == 0, 30, "libvirtd is back")
    service.wait_armed(60)
    assert life(service) == before and service.n_flows() == flows
    assert len(service.session.unit_pids(UNIT)) == 1, "failoverd has started no libvirtd of its own"


def test_failover_and_rejoin_work_in_a_session(service):
    rejoined(service, *fault(service, service.panic))
    assert len(service.session.unit_pids(UNIT)) == 1
