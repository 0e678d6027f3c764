# SPDX-License-Identifier: LGPL-2.1-or-later
"""Addresses that an application takes along: set where it runs, gone where it does not, announced on the link."""
import time

import pytest

from expect import moved, rejoined
from testbed.network import Network
from testbed.policy import DB, policy
from testbed.stand import Stand
from testbed.wait import until

V4, V6 = "192.0.2.10", "2001:db8::10"
RESOURCES = f"""\
        resources:
          addresses: [{{address: {V4}/24, link: eth0}}, {{address: "{V6}/64", link: eth0}}]
"""


@pytest.fixture(scope="module")
def network():
    network = Network()
    yield network
    network.close()


@pytest.fixture(scope="module")
def stand(network):
    with Stand(policy(applications=(DB + RESOURCES,)), "p", ("a", "b"), 192, [("db", 128)],
               domain_options=lambda session, domain: network.options(domain)) as stand:
        yield stand


def addresses(pair, vm):
    return {line.split()[1].split("/")[0] for line in pair.shell(vm, "ip addr show dev eth0").splitlines()
            if line.split()[0] in ("inet", "inet6")} & {V4, V6}


def announced(network, vm, since):
    """Both addresses, by that guest and by no other. Returns when the first one was."""
    first = until(lambda: [frame for frame in network.announcements(V4, since) if frame.domain == vm], 10,
                  f"{vm} announces {V4}")[0]
    until(lambda: [frame for frame in network.announcements(V6, since) if frame.domain == vm], 10,
          f"{vm} announces {V6}")
    for address in (V4, V6):
        assert {frame.domain for frame in network.announcements(address, since)} == {vm}
    return first.when


def test_address_is_set_on_the_owner_alone_and_answers_there(pair, network):
    assert addresses(pair, pair.active) == {V4, V6}
    assert addresses(pair, pair.standby) == set()
    assert network.owners(V4) == {pair.active}
    announced(network, pair.active, 0)


@pytest.mark.parametrize("fault", ["application", "qemu-killed", "panic"])
def test_address_follows_its_application_and_is_announced(pair, network, fault):
    old, new, before, since = pair.active, pair.standby, pair.n_flows(), time.monotonic()
    if fault == "application":
        pair.kill_app(old, "db", "KILL")
    elif fault == "panic":
        pair.panic(old)
    else:
        pair.guests.kill(old)
    flow = pair.wait_failover(before)
    moved(pair, flow, "application-failure" if fault == "application" else "os-failure", old, new)
    print(f"announced {announced(network, new, since) - since:.3f} s after the fault")
    assert addresses(pair, new) == {V4, V6}
    assert network.owners(V4) == {new}
    if fault == "application":
        assert addresses(pair, old) == set()
    rejoined(pair, old, new, flow)
    assert addresses(pair, old) == set()


def test_address_stays_through_a_restart_of_the_agent(pair, network):
    active = pair.active
    pair.shell(active, "kill -KILL $(cat /run/agent.pid)")
    pair.wait_armed(30)
    assert addresses(pair, active) == {V4, V6}
    assert network.owners(V4) == {active}
