# SPDX-License-Identifier: LGPL-2.1-or-later
"""An application keeps its state in a shared region; wherever it is started next, it goes on from there."""
import os
import signal

import pytest

from testbed.guests import BUILD
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


# One application for each kind, with libfailover-region.
KINDS = {"one": 1, "two": 2, "three": 3, "four": 4}
OF_KIND = """\
      - name: {name}
        kind: hot-standby
        memory: 128MiB
        start: {{command: [/usr/bin/count-by-library, {name}]}}
        stop-timeout: 20s
        restart: {{budget: 0, within: 1min, expected: 500ms}}
        state: [{{region: {name}, holder: depot, size: 1MiB, kind: {kind}}}]
"""


class Stand(PairStand):
    """The first of `servers` is the holder, another one its mirror. `kinds`: of what KINDS has, in place of db."""

    def __init__(self, *servers, kinds=False):
        apps = KINDS if kinds else ("db",)
        super().__init__(None, "p", ("a", "b"), 320 if kinds else 192, [(app, 128) for app in apps],
                         domain_options=self.with_library if kinds else ["--user-net"], start=False)
        try:
            ports = [free_port() for _ in servers]
            self.servers = MemoryServers(self.session, servers, "64MiB", ports=ports)
            mirrors = servers[1:]
            db = DB % (3 * len(mirrors), "".join(f", mirror: {name}" for name in mirrors))
            listed = "memory-servers:\n" + "".join(
                f'  - {{name: {name}, control: {self.servers.control(name)}, uri: "nbd://127.0.0.1:{port}/", '
                f'guests: "nbd://10.0.2.2:{port}/", unencrypted: yes}}\n' for name, port in zip(servers, ports))
            of_kinds = [OF_KIND.format(name=name, kind=kind) for name, kind in KINDS.items()]
            text = policy("2GiB", applications=of_kinds).replace("base: 192MiB", "base: 320MiB") if kinds else policy(
                applications=(db,))
            self.policy = text.replace("pairs:\n", listed + "pairs:\n")
            self.failoverd.start(self.policy)
        except BaseException:
            self.close()
            raise

    @staticmethod
    def with_library(session, _domain):
        image = "img/with-region-library.cpio"
        if not os.path.exists(session.path(image)):
            session.copy(f"{BUILD}/guest/with-region-library.cpio", image)
        return ["--user-net", "--initrd", session.path(image)]

    def number(self, domain, what, app="db"):
        words = self.shell(domain, f"cat /run/{app}.{what} 2>/dev/null").split()
        return int(words[0]) if words else 0

    def of_all_kinds(self, domain, *what):
        """{application: numbers}, as of one look; None where one has not said one of them."""
        paths = " ".join(f"/run/{name}.{one}" for name in KINDS for one in what)
        words = [int(word) for word in self.shell(domain, f"cat {paths} 2>/dev/null").split()]
        if len(words) != len(KINDS) * len(what):
            return None
        return {name: tuple(words[i * len(what):(i + 1) * len(what)]) for i, name in enumerate(KINDS)}

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
    stand.panic("b")
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


def test_the_library_brings_along_what_each_kind_promises_after_a_panic_too(request):
    stand = Stand("depot", kinds=True)
    request.addfinalizer(stand.close)
    stand.wait_armed()

    def told():
        regions = stand.failoverd.json("regions")["regions"]
        return {region["region"]: region["held"]["client"] for region in regions
                if region["held"] and region["held"]["client"] and region["held"]["client"]["written_bytes"]}

    def until_safe(domain, least):
        def safe():
            numbers = stand.of_all_kinds(domain, "safe")
            return numbers and all(number >= least for number, in numbers.values()) and numbers

        return until(safe, 60, lambda: f"each counts; {stand.servers.log('depot')[-2000:]}")

    def check_found(domain, safe):
        until(lambda: stand.of_all_kinds(domain, "pid"), 60, "each has found its number")
        found = stand.of_all_kinds(domain, "from", "torn")
        for name, kind in KINDS.items():
            assert found[name][0] >= safe[name][0], (name, found, safe)
            assert kind < 3 or found[name][1] == 0, (name, found)    # a write-back is whole or not at all
        return found

    def forget(domain):
        stand.shell(domain, "rm -f " + " ".join(f"/run/{name}.*" for name in KINDS))

    until_safe("a", 2 * EPOCH)
    use = until(lambda: [told()] if told().keys() == KINDS.keys() else [], 30, "the holder is told of their use")[0]
    assert use["one"]["faults"] > 0 and use["two"]["faults"] > 0
    assert all(use[name]["faults"] == 0 and use[name]["resident_bytes"] == 1 << 20 for name in ("three", "four"))

    # They are moved as planned: nothing is lost.
    flows = stand.n_flows()
    stand.failoverd.must("switch", "p")
    assert stand.wait_failover(flows)["ok"]
    last = stand.of_all_kinds("a", "count")
    found = check_found("b", last)
    assert all(found[name] == (last[name][0], 0) for name in KINDS), (found, last)

    # Each of them dies.
    stand.wait_armed()
    forget("a")
    safe = until_safe("b", max(number for number, in last.values()) + EPOCH)
    stand.shell("b", "kill -KILL " + " ".join(f"$(cat /run/{name}.pid)" for name in KINDS))
    found, last = check_found("a", safe), stand.of_all_kinds("b", "count")
    assert all(found[name][0] <= last[name][0] + 1 for name in KINDS), (found, last)

    # Their system does.
    stand.wait_armed()
    forget("b")
    safe = until_safe("a", max(number for number, in last.values()) + EPOCH)
    flows = stand.n_flows()
    stand.panic("a")
    assert stand.wait_failover(flows, 60)["ok"]
    check_found("b", safe)
