# SPDX-License-Identifier: LGPL-2.1-or-later
"""failoverd killed at each persist and each action of a failover: before it asks, when it has asked, and when the
answer is there but nothing has been made of it. Started again it comes to an armed pair; the application never runs
twice, its disk and its memory have one owner.

Each point of an OS failure takes as long as a guest to boot. Here the points are tried that differ in what is known and
what is done; all that a failover has are tried with FAILOVER_CRASH_POINTS=all, in some 15 minutes.
"""
import os
import re
import time

import pytest

from expect import counts, owned_once
from testbed.crash import CrashStand

OS_POINTS = [
    "before:persist-step:1",    # the decision is known to nobody
    "result:persist-step:1",    # it is written; nothing is done
    "after:freeze:1",
    "result:freeze:1",          # frozen, and nobody has written that it was us
    "before:persist-owner:1",   # memory is given out, and nobody has written it
    "after:resize:1",
    "after:attach-disk:1",
    "after:send-start:1",       # it starts, and nobody knows
    "result:send-start:1",      # it runs, and nobody has written it
    "after:start-domain:1",     # the standby is on its way up
]
APPLICATION_POINTS = [
    "before:persist-step:1",
    "before:send-stop:1",
    "after:send-stop:1",
    "result:send-stop:1",       # it has stopped, and nobody has written it
    "after:detach-disk:1",
    "result:detach-disk:1",     # the disk is nobody's
    "before:persist-owner:1",
    "after:persist-owner:1",
    "result:persist-owner:1",
    "after:resize:1",
    "after:attach-disk:1",
    "before:send-start:1",
    "after:send-start:1",
    "result:send-start:1",
    "before:flow-ended:1",
]


@pytest.fixture(scope="module")
def stand():
    with CrashStand() as stand:
        yield stand


@pytest.fixture
def pair(stand, request):
    """An armed pair whose failoverd can be told where to end."""
    request.node.stand = stand
    if stand.failoverd.process.poll() is not None:
        stand.start()
    stand.wait_armed()
    counts(stand, stand.active)
    return stand


def crash(pair, fault, point):
    """Returns what it came to, or None where the failover did not come by that point."""
    before = pair.n_flows()
    pair.crash_at(point)
    began = time.monotonic()
    fault()
    if not pair.restarted(before):
        pair.wait_armed()
        return None
    pair.wait_armed(120)
    armed = time.monotonic() - began
    owned_once(pair)
    runs = pair.witness.runs("db")[-1].began - began
    return f"{point}: runs again after {runs:.1f} s, armed after {armed:.1f} s"


def points_of(pair, fault):
    """All that a failover has, in their order."""
    pair.crash_at("list")
    before = pair.n_flows()
    fault()
    pair.wait_failover(before)
    pair.wait_armed()
    pair.crash_at("")
    return list(dict.fromkeys(re.findall(r"^crash point (\S+)$", pair.failoverd.log(100000), re.MULTILINE)))


@pytest.mark.parametrize("point", OS_POINTS)
def test_killed_at_a_point_of_an_os_failover(pair, point):
    result = crash(pair, pair.panic, point)
    assert result, f"the failover did not come by {point}"
    print(result)


@pytest.mark.parametrize("point", APPLICATION_POINTS)
def test_killed_at_a_point_of_an_application_failover(pair, point):
    result = crash(pair, pair.kill, point)
    assert result, f"the failover did not come by {point}"
    print(result)


@pytest.mark.skipif(os.environ.get("FAILOVER_CRASH_POINTS") != "all", reason="FAILOVER_CRASH_POINTS=all tries all")
@pytest.mark.parametrize("kind", ["kill", "panic"])
def test_killed_at_every_point_of_a_failover(pair, kind):
    fault = getattr(pair, kind)
    points = points_of(pair, fault)
    assert len(points) > 30, points
    failed = []
    for point in points:
        pair.wait_armed()
        counts(pair, pair.active)
        try:
            print(crash(pair, fault, point) or f"{point}: not come by this time", flush=True)
        except Exception as error:      # the others are of interest too
            failed.append((point, str(error)[:500]))
            print(f"{point}: FAILED: {error}\n{pair.failoverd.log(60)}", flush=True)
            if pair.failoverd.process.poll() is not None:
                pair.start()
    assert not failed, failed
