# SPDX-License-Identifier: LGPL-2.1-or-later
"""What failoverctl says would happen, why something happened, and what is kept to tell."""
import os

from expect import fault, rejoined, said
from testbed.policy import DB, policy
from testbed.stand import Stand
from testbed.wait import until


def make(request, keeper, dump):
    keeper.drop()
    text = policy(pair={"core-dump": dump}, applications=(DB,))
    request.node.stand = Stand(text, "p", ("a", "b"), 192, [("db", 128)])
    request.addfinalizer(request.node.stand.close)
    request.node.stand.wait_armed()
    return request.node.stand


def panicked_and_rejoined(request, keeper, dump):
    """A pair with that `core-dump`, armed again after its active guest has panicked; who was active; and the
    failover."""
    stand = make(request, keeper, dump)
    active, standby, flow = fault(stand, stand.panic, seconds=60)
    rejoined(stand, active, standby, flow)
    return stand, active, flow


def evidence(stand, flow):
    found = stand.failoverd.json("history", flow["id"])["evidence"]
    return found["directory"], {file["name"]: file["bytes"] for file in found["files"]}


def test_an_armed_pair_is_covered_and_a_paused_one_is_not(pair):
    done = pair.failoverd.ctl("check", "p")
    assert done.returncode in (0, 6), done.stdout + done.stderr
    cases = pair.failoverd.json("check", "p")["pairs"][0]["cases"]
    assert any(case["fault"] == "system" and case["begins"] for case in cases), cases
    pair.failoverd.must("pause", "p", "--reason", "kernel update")
    done = pair.failoverd.ctl("check", "p")
    pair.failoverd.must("resume", "p")
    assert done.returncode == 4 and "paused" in done.stdout, done.stdout


def test_explain_tells_what_an_armed_pair_lives_by(pair):
    told = pair.failoverd.ctl("explain", "p")
    assert told.returncode == 0 and f"failover to {pair.standby}" in told.stdout, told.stdout


def test_a_guest_that_panicked_is_dumped_before_it_is_killed(keeper, request):
    stand, active, flow = panicked_and_rejoined(request, keeper, "{within: 1min, limit: 512MiB}")
    directory, files = evidence(stand, flow)
    core = f"core-{'a' if active == stand.domains[0] else 'b'}"
    assert files[core] > 100 << 20, files
    with open(os.path.join(directory, core), "rb") as file:
        assert file.read(4) == b"\x7fELF"
    assert not said(stand, "ignored", "no core dump")
    told = stand.failoverd.ctl("explain", flow["id"])
    assert told.returncode == 0 and "panic" in told.stdout and core in told.stdout, told.stdout


def test_a_dump_that_takes_too_long_is_given_up_and_leaves_no_file(keeper, request):
    stand, active, flow = panicked_and_rejoined(request, keeper, "{within: 50ms, limit: 512MiB}")
    assert said(stand, "ignored", "it has not ended in the policy's time", active)
    until(lambda: not any(name.startswith("core-") for name in evidence(stand, flow)[1]), 20, "no part of it stays")
