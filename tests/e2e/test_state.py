# SPDX-License-Identifier: LGPL-2.1-or-later
"""An application keeps its state in a shared region; wherever it is started next, it goes on from there."""
import signal

import pytest

from testbed.network import free_port
from testbed.overflow import MemoryServers
from testbed.policy import policy
from testbed.stand import Stand as PairStand
from testbed.wait import until

EPOCH = 4    # counts, of tests/guest/count-in-region.c

DB = """\
      - name: db
        kind: hot-standby
        memory: 128MiB
        start: {command: [/usr/bin/count-in-region, db]}
        stop-timeout: 2s
        restart: {budget: %d, within: 1min, expected: 500ms}
        state: [{region: orders, holder: depot%s, size: 1MiB, kind: 3, write-back: 200ms}]
"""


class Stand(PairStand):
    """The first of `servers` is the holder, another one its mirror."""

    def __init__(self, *servers):
        super().__init__(None, "p", ("a", "b"), 192, [("db", 128)], domain_options=["--user-net"], start=False)
        try:
            ports = [free_port() for _ in servers]
            self.servers = MemoryServers(self.session, servers, "64MiB", ports=ports)
            mirrors = servers[1:]
            db = DB % (3 * len(mirrors), "".join(f", mirror: {name}" for name in mirrors))
            listed = "memory-servers:\n" + "".join(
                f'  - {{name: {name}, control: {self.servers.control(name)}, uri: "nbd://127.0.0.1:{port}/", '
                f'guests: "nbd://10.0.2.2:{port}/", unencrypted: yes}}\n' for name, port in zip(servers, ports))
            self.policy = policy(applications=(db,)).replace("pairs:\n", listed + "pairs:\n")
            self.failoverd.start(self.policy)
        except BaseException:
            self.close()
            raise

    def number(self, domain, what):
        words = self.shell(domain, f"cat /run/db.{what} 2>/dev/null").split()
        return int(words[0]) if words else 0

    def until_safe(self, domain, more):
        begun = self.number(domain, "safe")
        until(lambda: self.number(domain, "safe") >= begun + more, 60,
              lambda: f"it counts; {self.servers.log('depot')[-2000:]}")

    def close(self):
        super().close()
        if getattr(self, "servers", None):
            self.servers.close()


@pytest.fixture
def stand(request):
    stand = Stand(*request.param)
    yield stand
    stand.close()


@pytest.mark.parametrize("stand", [("depot",)], ids=["holder"], indirect=True)
def test_an_application_goes_on_from_what_it_wrote_back_last(stand):
    stand.wait_armed()
    stand.until_safe("a", 5 * EPOCH)
    flows = stand.n_flows()
    safe = stand.number("a", "safe")
    stand.kill_app("a", "db", "KILL")
    counted = stand.number("a", "count")
    assert stand.wait_failover(flows)["ok"]
    found = until(lambda: stand.number("b", "from"), 30, "it has found its number")
    assert safe <= found <= counted and found % EPOCH == 0 and counted - found <= 2 * EPOCH
    told = [event["text"] for event in stand.failoverd.events("p") if "orders was written back" in event["text"]]
    assert told, "history tells what was lost at most"

    # The whole system fails: a number that was safe before is never lost.
    stand.wait_armed()
    stand.until_safe("b", 5 * EPOCH)
    flows = stand.n_flows()
    safe = stand.number("b", "safe")
    stand.guests["b"].send("echo c > /proc/sysrq-trigger")
    assert stand.wait_failover(flows, 60)["ok"]
    until(lambda: stand.number("a", "from") > found, 30, "it has found its number")
    assert stand.number("a", "from") >= safe


@pytest.mark.parametrize("stand", [("depot", "annex")], ids=["mirror"], indirect=True)
def test_an_application_whose_holder_is_killed_goes_on_at_the_mirror(stand):
    def held():
        return stand.failoverd.json("regions")["regions"][0]["held"]

    stand.wait_armed()
    until(lambda: held()["mirror"] == "complete", 30, lambda: f"both have it: {held()}")
    stand.until_safe("a", 5 * EPOCH)
    safe = stand.number("a", "safe")
    assert stand.number("a", "from") < safe
    stand.servers.signal("depot", signal.SIGKILL)    # it ends with its holder
    until(lambda: stand.number("a", "from") >= safe, 60, "it is started anew, and has found its number")
    assert held()["at"] == "annex"
    stand.until_safe("a", 2 * EPOCH)
