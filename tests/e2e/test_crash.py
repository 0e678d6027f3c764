# SPDX-License-Identifier: LGPL-2.1-or-later
"""failoverd killed at each persist and each action of a failover: before it asks, when it has asked, and when the
answer is there but nothing has been made of it. Started again it comes to an armed pair; the application never runs
twice, its disk and its memory have one owner.

Each point of an OS failure takes as long as a guest to boot. Here the points are tried that differ in what is known and
what is done; all that a failover has are tried with FAILOVER_CRASH_POINTS=all, in some 15 minutes.
"""
import os
import re
import subprocess
import time

import pytest

from expect import counts, table_adds_up
from testbed.guests import BUILD
from testbed.policy import policy
from testbed.stand import Stand
from testbed.wait import until
from testbed.witness import Witness

# Its disk moves with it, so that one owned twice would be seen.
DB = """\
      - name: db
        kind: hot-standby
        memory: 128MiB
        start: {command: [/usr/bin/fill, run, db, "16"]}
        health: {command: [/usr/bin/fill, check, db], interval: 500ms, timeout: 500ms, failures: 3}
        stop-timeout: 2s
        restart: {budget: 1, within: 15s, expected: 500ms}
        severity:
          - {signal: KILL, is: major}
        resources:
          disks: [vdb]
"""

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


def panic(pair):
    pair.guests[pair.active].send("echo c > /proc/sysrq-trigger")


def kill(pair):
    pair.kill_app(pair.active, "db", "KILL")


def options(session, domain):
    return ["--witness", f"--kept-disk=vdb:{session.make_disk('img/db.raw', 16)}"]


class CrashStand(Stand):
    def __init__(self):
        super().__init__(policy(applications=(DB,)), "p", ("a", "b"), 192, [("db", 128)], domain_options=options,
                         program=f"{BUILD}/tests/e2e/failoverd-crash", start=False)
        self.witness = Witness(self.session, self.domains)
        self.start()

    def close(self):
        self.witness.close()
        super().close()

    def start(self):
        self.crash_at("")
        self.failoverd.start(self.policy, env={"FAILOVERD_CRASH_AT": self.session.path("crash-at")})

    def crash_at(self, point):
        self.session.write("crash-at", point)

    def restarted(self, n_before):
        """Starts failoverd again once it has killed itself; False if it has come through without. There were so many
        flows before."""
        def over():
            if self.failoverd.process.poll() is not None:
                return "killed"
            try:
                through = self.n_flows() > n_before and self.status()["state"] == "armed"
            except (RuntimeError, subprocess.TimeoutExpired):
                return None     # it is ending
            return "through" if through else None

        if until(over, 60, "the point is reached, or the pair is armed again") == "through":
            self.failoverd.kill()   # it might come by later
            self.start()
            return False
        assert self.failoverd.process.returncode == -9, self.failoverd.log()
        self.start()
        return True


@pytest.fixture(scope="module")
def stand():
    stand = CrashStand()
    yield stand
    stand.close()


@pytest.fixture
def pair(stand, request):
    """An armed pair whose failoverd can be told where to end."""
    request.node.stand = stand
    if stand.failoverd.process.poll() is not None:
        stand.start()
    stand.wait_armed()
    counts(stand, stand.active)
    return stand


def holds_disk(pair, vm):
    return "vdb" in pair.session.virsh("domblklist", vm).stdout


def owned_once(pair):
    """Application, disk and memory are on one side, and it is the same."""
    active, standby = pair.active, pair.standby
    assert pair.running_on("db") == [active]
    assert holds_disk(pair, active) and not holds_disk(pair, standby)
    until(lambda: [side["plugged_bytes"] > 0 for side in pair.application("db")["sides"]
                   if side["domain"] == standby] == [False], 30, "the standby has no region")
    assert [row["user"]["name"] for row in pair.failoverd.json("table")["rows"] if row["name"] == "db"] == [active]
    table_adds_up(pair)
    runs = pair.witness.runs("db")
    assert runs and runs[-1].domain == active, runs
    assert not pair.witness.two_at_once("db")
    counts(pair, active)


def crash(pair, fault, point):
    """Returns what it came to, or None where the failover did not come by that point."""
    before = pair.n_flows()
    pair.crash_at(point)
    began = time.monotonic()
    fault(pair)
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
    fault(pair)
    pair.wait_failover(before)
    pair.wait_armed()
    pair.crash_at("")
    return list(dict.fromkeys(re.findall(r"^crash point (\S+)$", pair.failoverd.log(100000), re.MULTILINE)))


@pytest.mark.parametrize("point", OS_POINTS)
def test_killed_at_a_point_of_an_os_failover(pair, point):
    result = crash(pair, panic, point)
    assert result, f"the failover did not come by {point}"
    print(result)


@pytest.mark.parametrize("point", APPLICATION_POINTS)
def test_killed_at_a_point_of_an_application_failover(pair, point):
    result = crash(pair, kill, point)
    assert result, f"the failover did not come by {point}"
    print(result)


@pytest.mark.skipif(os.environ.get("FAILOVER_CRASH_POINTS") != "all", reason="FAILOVER_CRASH_POINTS=all tries all")
@pytest.mark.parametrize("fault", [kill, panic])
def test_killed_at_every_point_of_a_failover(pair, fault):
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
