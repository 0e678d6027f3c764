# SPDX-License-Identifier: LGPL-2.1-or-later
"""A region that changes hands while both VMs live (N: two rights): its management at once, its memory as needed."""
import pytest

from expect import table_adds_up
from testbed import swap
from testbed.policy import DB, policy
from testbed.stand import Stand
from testbed.swap import Swap
from testbed.wait import until

pytestmark = pytest.mark.skipif(bool(swap.missing()), reason=swap.missing() or "swap")

MIB = 1 << 20
HOG = 150
REGION = 384
# 64 monitor, 256 overhead, 384 VMs and the region: nothing is left that could stand in.
POOL = f"{64 + 256 + 384 + REGION}MiB"
APPLICATION = DB.replace("128MiB", f"{REGION}MiB").replace('"96"', '"160"')


def swapped_kib(pid):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Swap:"))


def tight(request, backing, **pair):
    text = policy(pool=POOL, reserve="0MiB", applications=(APPLICATION,), pair=pair)
    stand = Stand(text, "p", ("a", "b"), 192, [("db", REGION)], helper=True, domain_options=(f"--backing={backing}",))
    request.node.stand = stand
    return stand


def start_hog(stand, vm):
    """Something else in the guest that holds on to the region's memory and keeps looking whether it is intact."""
    stand.shell(vm, f"fill run hog {HOG} 1 > /dev/console 2>&1 & echo begun")
    until(lambda: stand.count(vm, "hog") > 0, 60, "the hog has its memory")


def plugged(stand, vm):
    """How much of the region that VM's device has, as QEMU tells."""
    sides = stand.failoverd.json("memory")["regions"][0]["sides"]
    return next(side["plugged_bytes"] for side in sides if side["domain"] == vm)


def resident(stand, vm):
    """How much of the region is in the host's memory for that VM."""
    sides = stand.failoverd.json("memory")["regions"][0]["sides"]
    return next(side["resident_bytes"] or 0 for side in sides if side["domain"] == vm)


def ranges(stand):
    """Who manages and who uses the region, from its beginning to its end."""
    return stand.failoverd.json("memory")["regions"][0]["ranges"]


@pytest.mark.parametrize("backing", ("anonymous", "memfd"))
def test_region_moves_at_once_and_the_old_users_memory_survives_being_paged_out(request, backing):
    with Swap(1024), tight(request, backing) as stand:
        stand.wait_armed()
        start_hog(stand, "a")
        hog = stand.app_pid("a", "hog")
        until(lambda: stand.failoverd.json("status")["reclaim"]["able"], 30, "memory can be taken back")
        before = swapped_kib(stand.guests.pid("a"))

        stand.kill_app("a", "db", "KILL")
        flow = stand.wait_failover(0)
        assert flow["ok"], flow
        assert stand.running_on("db") == ["b"]
        said = [event["text"] for event in stand.failoverd.events("p")]
        assert any("manages the region of db at once" in text for text in said), said
        table_adds_up(stand)

        # The old guest was told, and bounds what the agent runs: nothing is started into what cannot last.
        limit = "cat /sys/fs/cgroup/failover/memory.high"
        until(lambda: stand.shell("a", limit).strip() != "max", 30, "a bounds its applications")

        # The map: b manages all of it, and uses what it has touched; a uses what it still has.
        assert {r["manager"] for r in ranges(stand)} == {"b"}
        until(lambda: {"a", "b"} <= {r["user"] for r in ranges(stand)}, 30, "usage follows extent by extent")
        assert "is being taken back from a" in stand.failoverd.ctl("memory").stdout

        # What the new user touches the old one has to let go; its own contents come to no harm.
        until(lambda: stand.count("b", "db") > 0, 60, "db has all its memory")
        until(lambda: swapped_kib(stand.guests.pid("a")) > before + 50 * 1024, 60, "the old user is paged out")
        counted = stand.count("a", "hog")
        until(lambda: stand.count("a", "hog") > counted + 40, 60, "the hog finds its memory intact")

        # Its guest was asked for what it could spare, and did not have to kill anything to give it up.
        assert stand.app_pid("a", "hog") == hog
        assert "Out of memory" not in stand.guests["a"].text
        assert REGION * MIB > plugged(stand, "a") > HOG * MIB

        # It ends: its guest gives the rest up, and the region is in use by its manager alone.
        stand.shell("a", "kill $(cat /run/hog.pid)")
        until(lambda: any("uses nothing of the region of db any more" in event["text"]
                          for event in stand.failoverd.events("p")), 90, "the region is handed over")
        assert {(r["manager"], r["user"]) for r in ranges(stand)} == {("b", "b")}
        until(lambda: stand.shell("a", limit).strip() == "max", 30, "a bounds them no more")
        stand.wait_armed()
        table_adds_up(stand)


def test_extents_that_the_old_user_leaves_alone_are_empty_before_the_manager_needs_them(request):
    early = {"early-release": "{when: background, measure: time, after: 2s}"}
    with Swap(1024), tight(request, "memfd", **early) as stand:
        stand.wait_armed()
        start_hog(stand, "a")
        until(lambda: stand.failoverd.json("status")["reclaim"]["able"], 30, "memory can be taken back")
        stand.shell("a", "kill -STOP $(cat /run/hog.pid)")
        until(lambda: resident(stand, "a") > HOG * MIB, 30, "the old user's memory is seen")
        stand.kill_app("a", "db", "KILL")
        assert stand.wait_failover(0)["ok"]
        until(lambda: stand.count("b", "db") > 0, 60, "db has all its memory")
        until(lambda: resident(stand, "a") < 16 * MIB, 60, "nothing of the old user's is in memory")
        free = sum(r["end_bytes"] - r["start_bytes"] for r in ranges(stand) if r["user"] is None)
        assert free >= 64 * MIB, ranges(stand)     # beyond what b has touched
        assert {r["manager"] for r in ranges(stand)} == {"b"}
        stand.shell("a", "kill -CONT $(cat /run/hog.pid)")
        counted = stand.count("a", "hog")
        until(lambda: stand.count("a", "hog") > counted + 40, 60, "the hog finds its memory intact")
        table_adds_up(stand)


def test_eager_waits_until_the_old_user_has_given_the_region_up(request):
    with Swap(512), tight(request, "anonymous", handover="eager") as stand:
        stand.wait_armed()
        stand.kill_app("a", "db", "KILL")
        flow = stand.wait_failover(0, 60)
        assert flow["ok"], flow
        assert not any("at once" in event["text"] for event in stand.failoverd.events("p"))
        table_adds_up(stand)
