# SPDX-License-Identifier: LGPL-2.1-or-later
"""The host has too little memory and swaps: guests answer late or not at all, and it is not their fault."""
import time

import pytest

from expect import counts
from testbed import squeeze
from testbed.policy import policy
from testbed.stand import Stand

SECONDS = 30
HOGS = 4        # programs that want more memory than all of them get together
HOG_MIB = 256


@pytest.fixture
def squeezed(request):
    """An armed pair, all of whose processes will have to do with one limit of memory."""
    why = squeeze.missing()
    if why:
        pytest.skip(why)
    group = squeeze.Squeeze("failoverd-e2e")
    try:
        with Stand(policy(), "p", ("a", "b"), 192, [("db", 128), ("web", 64)], start=False) as stand:
            request.node.stand = stand
            group.add(stand.session.libvirtd.pid)       # its QEMUs follow
            stand.failoverd.start(stand.policy)
            group.add(stand.failoverd.process.pid)
            stand.wait_armed()
            yield stand, group
    finally:
        group.close()


def memory_stalls():
    """Seconds since boot in which some task waited for memory, and in which all did."""
    with open("/proc/pressure/memory") as f:
        return [int(line.rsplit("total=", 1)[1]) / 1e6 for line in f]


def test_swapping_host_is_doubted_and_no_guest_is_failed_over(squeezed):
    stand, group = squeezed
    active, pids = stand.active, stand.qemus()
    before, used = memory_stalls(), group.used_mib()
    group.limit(used // 3)
    for _ in range(HOGS):
        group.hog(HOG_MIB)
    time.sleep(SECONDS)     # the strain itself
    group.relax()
    some, all_of_them = (now - then for now, then in zip(memory_stalls(), before))
    print(f"{used} MiB in {used // 3}: some task waited for memory in {some:.1f} s of {SECONDS}, "
          f"all in {all_of_them:.1f} s")
    assert some > SECONDS / 3, "the host did not swap"

    stand.wait_armed(120)
    assert stand.n_flows() == 0 and stand.active == active
    assert stand.qemus() == pids, "a guest was touched"
    doubts = [event["text"] for event in stand.failoverd.json("history")["events"] if event["kind"] == "doubt"]
    print(*doubts, sep="\n")
    assert any("swaps memory of" in text for text in doubts), doubts
    counts(stand, active)
