# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two pairs, p and q: what one suffers or does, the other one and everybody else does not notice."""
import contextlib
import os
import re
import signal
import time

import pytest

from expect import counts, fault, moved, said
from testbed.stand import Stand
from testbed.wait import until

POLICY = """\
version: 1
hypervisor: qemu:///session
pool: {memory: 1792MiB, reserve: 0MiB, extent: 32MiB, monitor: 64MiB, overhead: 128MiB}
pairs:
""" + "".join(f"""\
  - name: {pair}
    active: {{domain: {active}, base: 160MiB}}
    standby: {{domain: {standby}, base: 160MiB}}
    flap: {{failovers: 16, within: 1min}}
    detect: {{confirm: 2500ms}}
    applications:
      - name: {app}
        kind: hot-standby
        memory: 128MiB
        start: {{command: [/usr/bin/fill, run, {app}, "64"]}}
        health: {{command: [/usr/bin/fill, check, {app}], interval: 500ms, timeout: 500ms, failures: 3}}
        stop-timeout: 2s
        severity: [{{signal: KILL, is: major}}]
""" for pair, active, standby, app in (("p", "a", "b", "db"), ("q", "c", "d", "shop")))

# What a program in the agent's place does (tests/guest/hostile-agent), and what history must say about it where it
# goes that far.
ATTACKS = {
    "garbage": "agent breaks the protocol",
    "half-line": None,
    "huge-line": None,
    "long-lines": "a line is too long",
    "wrong-version": "version: is not between 1 and 65535",
    "hosts-words": "it sends what only the host may send",
    "strange-names shop": 'speaks of "shop", which is no application of p',
    "replay": None,
    "greetings": "the agent has started anew",
}


@pytest.fixture(scope="module")
def stand():
    with Stand(POLICY, "p", ("a", "b", "c", "d"), 160, [("db", 128), ("shop", 128)]) as stand:
        yield stand


@pytest.fixture
def pairs(stand, request):
    """Both pairs armed."""
    request.node.stand = stand
    for pair in ("p", "q"):
        stand.failoverd.wait_state(pair, "armed", 120)
    return stand


def peer(pairs, pair, which):
    return pairs.failoverd.pair(pair)[which]["domain"]


@contextlib.contextmanager
def undisturbed(pairs, pair, app):
    """The pair stays armed all the while, and its application runs on."""
    vm = peer(pairs, pair, "active")
    counts(pairs, vm, app)
    pid, counted, began = pairs.app_pid(vm, app), pairs.count(vm, app), time.monotonic()
    yield
    status = pairs.failoverd.pair(pair)
    assert status["state"] == "armed" and status["state_age_ms"] >= (time.monotonic() - began) * 1000
    assert pairs.app_pid(vm, app) == pid and pairs.count(vm, app) > counted


def attack(pairs, vm, name):
    pairs.shell(vm, "mv /usr/bin/failover-agent /usr/bin/agent.away; kill -KILL $(cat /run/agent.pid)")
    try:
        print(pairs.shell(vm, f"hostile-agent {name}", 60))
    finally:
        pairs.shell(vm, "mv /usr/bin/agent.away /usr/bin/failover-agent")


@pytest.mark.parametrize("name", ATTACKS)
def test_hostile_guest_disturbs_nobody_and_its_link_recovers(pairs, name):
    expected = ATTACKS[name]
    vm, flows = pairs.standby, pairs.n_flows()
    active = pairs.active
    app, lines = pairs.app_pid(active, "db"), len(pairs.failoverd.events("p"))
    with undisturbed(pairs, "q", "shop"):
        began = time.monotonic()
        attack(pairs, vm, name)
        assert pairs.failoverd.ctl("status", seconds=5).returncode in (0, 4)
        if expected:
            until(lambda: said(pairs, "protocol", expected, vm), 15, f"history says: {expected}")
        pairs.wait_armed(60)
        print(f"armed again {time.monotonic() - began:.1f} s after the attack began")
    assert pairs.n_flows() == flows and pairs.active == active
    assert pairs.app_pid(active, "db") == app
    assert len(pairs.failoverd.events("p")) - lines <= 25, "history is flooded"


def fail_over(pairs):
    """Seconds from the fault to the application started."""
    began = time.time()
    _, _, flow = fault(pairs, pairs.guests.kill)
    print(f"recovered in {flow['recovery_usec'] / 1e6:.3f} s, over {time.time() - began:.3f} s after the fault")
    pairs.wait_armed()
    return flow["recovery_usec"] / 1e6


def test_domain_whose_calls_never_answer_slows_no_other_pairs_failover(pairs):
    usual = [fail_over(pairs) for _ in range(2)]
    pairs.failoverd.must("pause", "q")
    stuck = pairs.guests.pid("d")
    os.kill(stuck, signal.SIGSTOP)
    asking = []
    try:
        # Others ask for it, too, and wait: each takes one of libvirtd's workers.
        asking = [pairs.session.spawn("virsh", "-q", "-c", "qemu:///session", "dommemstat", "d") for _ in range(3)]
        with contextlib.suppress(Exception):
            pairs.session.virsh("dominfo", "d", seconds=2)
        times = [fail_over(pairs) for _ in range(2)]
        # libvirtd gives them up after 30 s.
        assert all(process.poll() != 0 for process in asking), "the domain is not stuck"
    finally:
        os.kill(stuck, signal.SIGCONT)
        for process in asking:
            process.kill()
            process.wait()
        pairs.failoverd.ctl("resume", "q")
    # Times vary by a factor of two on shared processors. What else the machine does may slow one of them down; the
    # domain, if it did, would slow both.
    assert min(times) <= 2 * max(usual) + 0.2, (usual, times)
    pairs.failoverd.wait_state("q", "armed", 120)


def suspects_the_host(pairs):
    """What history of either pair says of that since the pair was armed."""
    for pair in ("p", "q"):
        for event in pairs.failoverd.events(pair):
            if event["kind"] == "armed":
                break
            if event["kind"] == "doubt" and "the host itself is the suspect" in event["text"]:
                return event["text"]
    return None


@contextlib.contextmanager
def all_stopped(pairs):
    """Every guest stands still at the same time, as on a host that does, until failoverd has said what it makes of
    that. It looks again for eight seconds then."""
    qemus = pairs.qemus()
    for pid in qemus.values():
        os.kill(pid, signal.SIGSTOP)
    try:
        said_so = until(lambda: suspects_the_host(pairs), 60, "the host is the suspect")
        yield qemus
    finally:
        for pid in qemus.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    assert re.match(r"[34] of 4 guests are silent at once: ", said_so), said_so


def test_many_silent_at_once_make_the_host_the_suspect_and_nothing_is_done(pairs):
    flows, sides = pairs.n_flows(), {pair: peer(pairs, pair, "active") for pair in ("p", "q")}
    pids = {app: pairs.app_pid(sides[pair], app) for pair, app in (("p", "db"), ("q", "shop"))}
    with all_stopped(pairs) as qemus:
        pass
    for pair in ("p", "q"):
        pairs.failoverd.wait_state(pair, "armed", 60)
    assert pairs.n_flows() == flows and not pairs.failoverd.flows("q")
    assert pairs.qemus() == qemus, "a guest was ended"
    for pair, app in (("p", "db"), ("q", "shop")):
        assert peer(pairs, pair, "active") == sides[pair] and pairs.app_pid(sides[pair], app) == pids[app]


def test_one_that_stays_silent_when_the_others_are_back_is_failed_over(pairs):
    old, new, before = pairs.active, pairs.standby, pairs.n_flows()
    with all_stopped(pairs) as qemus:
        others = {vm: pid for vm, pid in qemus.items() if vm != old}
        for pid in others.values():
            os.kill(pid, signal.SIGCONT)
        flow = pairs.wait_failover(before, 60)
    moved(pairs, flow, "os-failure", old, new)
    assert "guest hang" in flow["cause"]
    for pair in ("p", "q"):
        pairs.failoverd.wait_state(pair, "armed", 120)
    assert not pairs.failoverd.flows("q")
    assert {vm: pairs.guests.pid(vm) for vm in others} == others, "one that answered again was ended"
