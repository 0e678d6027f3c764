# SPDX-License-Identifier: LGPL-2.1-or-later
"""What failoverd records of itself. That every recording decides the same again is looked at whenever a stand ends."""
import os
import tarfile

from expect import moved, rejoined, said
from testbed.guests import BUILD
from testbed.policy import policy
from testbed.stand import Stand
from testbed.wait import until


def kept(pair, flow, name):
    """What history names for a failover, the recording or what was found of a side."""
    def named():
        evidence = pair.failoverd.json("history", flow["id"])["evidence"] or {"files": []}
        names = [file["name"] for file in evidence["files"]]
        return os.path.join(evidence["directory"], name) if name in names else None

    return until(named, 10, f"history names {name} of {flow['id']}")


def kept_events(pair, flow):
    return kept(pair, flow, "events")


def contents(path):
    with open(path, errors="replace") as f:
        return f.read()


def test_failover_is_kept_as_a_recording_that_becomes_a_scenario(pair):
    before, active, standby = pair.n_flows(), pair.active, pair.standby
    pair.panic(active)
    flow = pair.wait_failover(before)
    moved(pair, flow, "os-failure", active, standby)
    side = "ab"[pair.domains.index(active)]
    assert "Kernel panic" in contents(kept(pair, flow, f"console-{side}")), "the console, before it was killed"
    assert "pong" in contents(kept(pair, flow, f"messages-{side}")), "the agent's last words"
    assert "processor 0/" in contents(kept(pair, flow, f"process-{side}")), "QEMU's processors"
    events = kept_events(pair, flow)
    assert f"recorded: {events}" in pair.failoverd.log(1000), "the log names it"
    done = pair.failoverd.must("replay", events)
    for line in (f"< {active}          domain crashed (panicked)", f"[decided] {flow['id']}: {active} to {standby}",
                 f"[fenced] {active} is fenced", "the os-failure has ended (good)"):
        assert line in done.stdout, done.stdout
    assert pair.failoverd.json("replay", events)["same"] is True
    scenario = pair.session.path("scenario")
    pair.failoverd.must("replay", events, "--scenario", scenario)
    done = pair.failoverd.ctl("simulate", scenario)
    with open(os.path.join(scenario, "expect")) as f:
        assert done.returncode == 0 and done.stdout == f.read()
    rejoined(pair, active, standby, flow)
    report = pair.session.path("report")
    pair.failoverd.must("report", "--output", report)
    with tarfile.open(report + ".tar") as tar:
        bundled = tar.extractfile(f"report/{flow['id']}-events").read()
    path = pair.session.write("bundled", bundled.decode())
    assert pair.failoverd.json("replay", path)["same"] is True


def test_decision_not_to_act_is_kept_too(pair):
    active = pair.active
    pair.session.virsh("suspend", active)
    until(lambda: said(pair, "ignored", "suspended"), 10, "it says that it does nothing")
    recorded = until(lambda: [line for line in pair.failoverd.log(1000).splitlines()
                              if line.startswith("recorded: ") and "+ignored-" in line], 10,
                     "the log names its recording")
    path = recorded[-1].removeprefix("recorded: ")
    until(lambda: os.path.exists(path), 10, "it is kept")
    done = pair.failoverd.ctl("replay", path)
    assert done.returncode == 0 and "[ignored]" in done.stdout, done.stdout + done.stderr
    pair.session.virsh("resume", active)
    pair.wait_armed()


def test_failover_that_failoverd_was_killed_in_is_kept_with_both_lives(keeper):
    """The ring outlives failoverd: what led to the failover is in the recording that the next life ends."""
    keeper.drop()
    stand = Stand(policy(), "p", ("a", "b"), 192, [("db", 128), ("web", 64)],
                  program=f"{BUILD}/tests/e2e/failoverd-crash",
                  start=False)
    with stand:
        crash_at = stand.session.write("crash-at", "")
        stand.failoverd.start(stand.policy, env={"FAILOVERD_CRASH_AT": crash_at})
        stand.wait_armed()
        before = stand.n_flows()
        stand.session.write("crash-at", "result:freeze:1")
        stand.panic("a")
        until(lambda: stand.failoverd.process.poll() is not None, 60, "it has killed itself")
        stand.session.write("crash-at", "")
        stand.failoverd.start(env={"FAILOVERD_CRASH_AT": crash_at})
        flow = stand.wait_failover(before, 60)
        done = stand.failoverd.must("replay", kept_events(stand, flow))
        assert f"[decided] {flow['id']}" in done.stdout and "# failoverd was started anew" in done.stdout
        assert "the os-failure has ended (good)" in done.stdout
        stand.wait_armed(120)
