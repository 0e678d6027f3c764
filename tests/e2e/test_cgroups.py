# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whose memory goes while a region changes hands, where the kernel has the memory controller of cgroup v2: real QEMUs
and the real helper under a kernel of their own, once without systemd (inside_cgroups.py) and once with it
(inside_systemd.py), and what is to be expected of it.
"""
import os

import pytest

import inside_cgroups
import inside_systemd
from inside_cgroups import FIRST, MEMORY, NEW_END, OLD_AT_MOST, REGION, SYSTEM
from testbed import uml

pytestmark = pytest.mark.skipif(bool(uml.missing()), reason=uml.missing() or "user-mode Linux")

LIMITS = ("memory.min", "memory.low", "memory.high")
MEMORY_SYSTEMD = 640
SECONDS = 300   # emulated twice; one alone on a machine takes 45


@pytest.fixture(scope="module")
def found():
    told = uml.run(os.path.abspath(inside_cgroups.__file__), MEMORY, SECONDS)
    for step, group in ((step, group) for step in told.values() if isinstance(step, dict)
                        for group in ("pool", "old", "new")):
        print(step["seconds"], group, step[group])
    assert "error" not in told, f"{told['error']}\n{told['helper']}"
    return told


def limits(step):
    return {group: {name: step[group][name] for name in LIMITS} for group in ("pool", "old", "new")}


def test_what_each_vm_manages_is_protected_up_the_tree(found):
    step = found["bounded"]
    assert step["new"]["memory.low"] == SYSTEM + REGION and step["new"]["memory.min"] == SYSTEM
    assert step["old"]["memory.low"] == SYSTEM
    assert step["pool"]["memory.low"] == 2 * SYSTEM + REGION, "a group above has what both need"
    assert any(f"new: protected: {SYSTEM + REGION} MiB in /pool/new" in line for line in step["said"])
    assert set(step["noted"]) == {"/pool", "/pool/old", "/pool/new"}


def test_the_old_user_has_to_give_up_what_the_new_manager_has_touched(found):
    step = found["bounded"]
    assert step["old"]["memory.high"] <= OLD_AT_MOST
    assert step["old"]["current"] <= OLD_AT_MOST + 1 and step["old"]["swap"] > 0
    assert step["new"]["memory.high"] == "max" and step["new"]["swap"] == 0


def test_memory_that_is_paged_out_is_told_apart_from_memory_that_was_given_back(found):
    old, new = found["paged"]["parts"]["old"], found["paged"]["parts"]["new"]
    print(old, new)
    assert old["swapped"] > old["resident"], "a memory file, of which a page map does not tell"
    assert old["swapped"] + old["resident"] <= REGION
    assert new["swapped"] == 0 and new["resident"] >= NEW_END - FIRST, "anonymous memory"


def test_under_a_hard_limit_of_both_the_new_manager_loses_nothing(found):
    before, step = found["bounded"], found["capped"]
    assert step["pool"]["current"] <= step["max"] < before["pool"]["current"]
    assert step["intact"], "both have gone through all their memory"
    assert step["old"]["swap"] > before["old"]["swap"] and step["new"]["swap"] == 0
    assert step["pool"]["killed"] == 0


def test_the_pool_s_own_limit_holds_while_both_touch_as_fast_as_they_can(found):
    step = found["limited"]
    assert step["pool"]["current"] <= step["max"]
    assert step["intact"] and step["pool"]["killed"] == 0, "both have gone through all their memory"


def test_where_the_host_is_short_the_new_manager_loses_nothing(found):
    step = found["short"]
    assert step["hog"] > 0, "the kernel had to swap"
    assert step["intact"] and step["new"]["swap"] == 0
    assert step["old"]["current"] >= SYSTEM - 4, "nor does the old user lose what it still manages"
    assert step["pool"]["killed"] == 0


def test_a_crash_leaves_nothing_behind_that_the_next_start_does_not_give_back(found):
    assert len(found["crashed"]["noted"]) == 3
    assert limits(found["again"])["new"] == limits(found["short"])["new"]
    assert found["ended"]["noted"] == []
    assert limits(found["ended"]) == limits(found["before"]) and found["ended"]["max"] == "max"


def test_contents_survive_all_of_it(found):
    assert found["ended"]["intact"] and found["ended"]["old"]["swap"] > 0


# ---- where systemd manages the groups ----

@pytest.fixture(scope="module")
def known():
    """What systemd knows of it."""
    told = uml.run(os.path.abspath(inside_systemd.__file__), MEMORY_SYSTEMD, SECONDS)
    for step in told.values():
        print(step)
    assert "error" not in told, f"{told['error']}\n{told['helper']}"
    return told


def in_mib(properties):
    return {name: "max" if value == "infinity" else int(value) >> 20 for name, value in properties.items()}


@pytest.mark.parametrize("step", ("before", "during", "reloaded", "ended"))
def test_systemd_knows_what_is_in_its_groups(known, step):
    for files, unit in zip(known[step]["files"], known[step]["units"]):
        assert in_mib(unit) == {"MemoryMin": files["memory.min"], "MemoryLow": files["memory.low"],
                                "MemoryHigh": files["memory.high"]}


def test_the_helper_sets_it_from_behind_its_walls(known):
    above, old, new = known["during"]["files"]
    assert any(line.startswith("reclaim able") for line in known["said"]), known["said"]
    assert new["memory.low"] == SYSTEM + REGION and old["memory.low"] == SYSTEM
    assert old["memory.high"] != "max" and new["memory.high"] == "max"
    assert above["memory.low"] == 2 * SYSTEM + REGION
    assert known["reloaded"]["files"] == known["during"]["files"]


def test_a_pool_s_hard_limit_is_systemd_s_and_goes_after_a_crash(known):
    assert known["limited"] == {"file": 500, "unit": "524288000"}
    assert known["unlimited"] == {"file": "max", "unit": "infinity"}


def test_an_operator_s_setting_outlives_a_crash_and_the_end(known):
    assert known["before"]["units"][1:] == known["ended"]["units"][1:]
    assert known["ended"]["files"][0] == {**known["before"]["files"][0], "memory.low": 1024}
    assert known["ended"]["noted"] == []
