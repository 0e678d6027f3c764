# SPDX-License-Identifier: LGPL-2.1-or-later
"""An application keeps its state in a shared region; wherever it is started next, it goes on from there."""
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
        restart: {budget: 0, within: 1min, expected: 500ms}
        state: [{region: orders, size: 1MiB, kind: 3, write-back: 200ms}]
"""


class Stand(PairStand):
    def __init__(self):
        super().__init__(None, "p", ("a", "b"), 192, [("db", 128)], domain_options=["--user-net"], start=False)
        try:
            port = free_port()
            self.depot = MemoryServers(self.session, ("depot",), "64MiB", port=port)
            servers = (f'memory-servers:\n  - {{name: depot, control: {self.depot.control("depot")}, '
                       f'uri: "nbd://127.0.0.1:{port}/", guests: "nbd://10.0.2.2:{port}/", unencrypted: yes}}\n')
            self.policy = policy(applications=(DB,)).replace("pairs:\n", servers + "pairs:\n")
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
              lambda: f"it counts; {self.depot.log('depot')[-2000:]}")

    def close(self):
        super().close()
        if getattr(self, "depot", None):
            self.depot.close()


@pytest.fixture
def stand():
    stand = Stand()
    yield stand
    stand.close()


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
