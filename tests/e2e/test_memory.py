# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who has which memory: the table from start to start, refusals, and a pool that grows."""
import pytest

from expect import table_adds_up
from testbed.policy import DB, WEB, policy
from testbed.stand import Stand
from testbed.wait import until

MIB = 1 << 20
# The worked example, scaled: the active VM begins with the hot-standby application's memory in hand.
ACTIVE = "active: {domain: a, base: 192MiB"
HELD = ACTIVE + ", memory: 320MiB"


def scaled(applications, pool):
    return policy(pool=pool, reserve="0MiB", applications=applications).replace(ACTIVE, HELD)


def rows(stand):
    return {key: (row["usage_bytes"] // MIB, row["user"]["name"], row["target"]["name"])
            for key, row in stand.failoverd.table().items() if row["usage_bytes"]}


@pytest.fixture
def example(request):
    """Both guests up, nothing started: the pair is paused before anything may start."""
    text = scaled((DB,), "896MiB")      # 64 monitor, 256 overhead, 320 + 192 VMs, 64 unused
    with Stand(text, "p", ("a", "b"), 192, [("db", 128), ("web", 64)], start=False) as stand:
        request.node.stand = stand
        for vm in stand.domains:
            stand.session.virsh("start", vm)
        stand.failoverd.start(text)
        stand.failoverd.must("pause", "p")
        until(lambda: all(m["agent"]["configured"] for m in stand.status()["members"]), 60, "both agents are there")
        yield stand


def test_table_has_the_states_of_the_worked_example(example):
    fixed = {"monitor": (64, "monitor", "monitor"), "overhead": (256, "monitor", "monitor")}
    state_a = {**fixed, "p:a": (320, "a", "a"), "p:b": (192, "b", "b"), "unused": (64, "monitor", "monitor")}
    assert rows(example) == state_a
    table_adds_up(example)

    example.failoverd.must("resume", "p")
    example.wait_armed()
    state_b = {**state_a, "p:a": (192, "a", "a"), "p:a:db": (128, "a", "b")}
    assert rows(example) == state_b
    table_adds_up(example)

    example.apply(scaled((DB, WEB), "896MiB"))
    until(lambda: example.running_on("web") == ["a"], 30, "the plain application is started")
    state_c = {**state_b, "p:a:web": (64, "a", "monitor")}
    del state_c["unused"]
    assert rows(example) == state_c
    table_adds_up(example)
    example.wait_armed()


def test_pool_too_small_refuses_the_start_with_the_reason_and_a_grown_pool_gives(request):
    """The plain application does not fit: it is not started, and status says why. More memory is given out
    without touching what runs."""
    small = policy(pool="896MiB")       # 64 + 256 + 32 reserve + 384 VMs + 128 db = 864; 32 are left for web's 64
    with Stand(small, "p", ("a", "b"), 192, [("db", 128), ("web", 64)]) as stand:
        request.node.stand = stand
        until(lambda: stand.running_on("db") == ["a"], 90, "db runs")
        until(lambda: stand.application("web")["refusal"], 30, "web is refused")
        assert stand.running_on("web") == []
        assert "pool" in stand.application("web")["refusal"]
        stand.wait_armed()  # what a plain application lacks does not unprotect the others
        db = stand.app_pid("a", "db")

        stand.apply(policy(pool="1GiB"))
        until(lambda: stand.running_on("web") == ["a"], 60, "web is started")
        stand.wait_armed()
        assert stand.failoverd.json("table")["governed_bytes"] == 1024 * MIB
        assert stand.app_pid("a", "db") == db and stand.n_flows() == 0
        table_adds_up(stand)


EXTRA = """\
      - {name: extra, kind: memory, memory: 128MiB}
"""


def test_memory_moved_by_hand_is_seen_by_the_guests(request):
    """One VM is extended by hand, a part of that moves to the other, and all of it comes back."""
    text = policy(applications=(DB, EXTRA), pair={"guest-requests": "{allow: release, every: 1s}"})
    # 64 monitor, 256 overhead, 32 reserve, 384 VMs, 128 db; 160 are unused
    with Stand(text, "p", ("a", "b"), 192, [("db", 128), ("extra", 128)]) as stand:
        request.node.stand = stand
        stand.wait_armed()

        def total_mib(vm):
            return int(stand.shell(vm, "grep MemTotal /proc/meminfo").split()[1]) // 1024

        def by_hand(*words):
            return stand.failoverd.must("memory", *words).stdout

        before = {vm: total_mib(vm) for vm in ("a", "b")}
        assert "a=+128MiB: 128MiB of 128MiB" in by_hand("extend", "a", "128MiB", "--wait")
        until(lambda: total_mib("a") >= before["a"] + 120, 30, "a has the memory")
        assert rows(stand)["p:a:extra"] == (128, "a", "a")

        refused = stand.failoverd.ctl("memory", "extend", "b", "128MiB")
        assert refused.returncode == 1 and "the pool has 32MiB unused" in refused.stderr

        by_hand("assign", "a=-64MiB b=+64MiB", "--wait")
        until(lambda: total_mib("a") <= before["a"] + 70, 30, "a has given up a part")
        until(lambda: total_mib("b") >= before["b"] + 60, 30, "b has it")
        assert rows(stand)["p:a:extra"] == rows(stand)["p:b:extra"][:1] + ("a", "a")

        # The guest of b gives its part up by itself; the policy lets it, and asks for no more than that.
        assert "may ask for memory of its own VM alone" in stand.shell("b", "failover-agent --ask a=-64MiB 2>&1")
        until(lambda: stand.shell("b", "failover-agent --ask -64MiB 2>&1").startswith("granted: b=-64MiB"), 10,
              "b is heard again")
        by_hand("assign", "a=-64MiB", "--wait")
        until(lambda: total_mib("a") < before["a"] + 8 and total_mib("b") < before["b"] + 8, 30, "all came back")
        assert rows(stand)["unused"][0] == 160 and stand.status()["state"] == "armed"
        table_adds_up(stand)


def test_policy_with_an_error_is_refused_and_the_old_one_stays(pair):
    path = pair.session.write("bad.yaml", pair.policy.replace("memory: 128MiB", "memory: 130MiB"))
    done = pair.failoverd.ctl("policy", "apply", path)
    assert done.returncode != 0
    assert "not a multiple of the extent" in done.stdout + done.stderr
    assert pair.status()["state"] == "armed"
    assert pair.application("db")["memory_bytes"] == 128 * MIB


# Memory that no application owns, for what is moved by hand.
