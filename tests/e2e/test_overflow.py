# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest that outgrows its memory pages out to memory servers, and loses nothing when one of them does."""
import json
import signal
import subprocess

import pytest

from testbed.guests import Guests
from testbed.overflow import MemoryServers, Overflow
from testbed.policy import policy
from testbed.session import Session, accepts
from testbed.stand import Stand as PairStand
from testbed.wait import until

MIB = 1 << 20
GUEST_MIB, FILLED_MIB, SMALL_MIB = 160, 300, 40
PATIENCE = 240    # seconds, of an emulated guest beside other load
WORD = 0x9e3779b97f4a7c15    # of tests/guest/fill.c


def sum_of_words(mib=FILLED_MIB):
    n = mib * MIB // 8
    return WORD * (n * (n - 1) // 2) % 2**64


class Stand:
    def __init__(self):
        self.session = Session()
        self.guests = self.overflow = None
        try:
            self.session.start_bus()
            self.session.start_libvirtd()
            self.guests = Guests(self.session)
            self.guests.define("a", GUEST_MIB, [])
            self.session.virsh("start", "a")
            self.overflow = Overflow(self.session, ("one", "two"), "512MiB", "512MiB")
        except BaseException:
            self.close()
            raise

    def shell(self, command, seconds=30):
        return self.guests["a"].run(command, seconds)

    def count(self, name):
        words = self.shell(f"cat /run/{name}.count 2>/dev/null").split()
        return int(words[0]) if words else 0

    def close(self):
        if self.guests:
            self.guests.close()
        if self.overflow:
            self.overflow.close()
        self.session.close()


@pytest.fixture
def stand():
    stand = Stand()
    yield stand
    stand.close()


def fill_more_than_there_is(stand, fault):
    """A program that fills twice what the guest has; in the middle of that the primary is lost."""
    overflow = stand.overflow
    stand.shell("true", 60)
    overflow.attach("a")
    until(lambda: "/dev/vda" in stand.shell("cat /proc/swaps"), 30, "the agent switches the disk on")
    assert int(stand.shell("awk '/^MemTotal/ { print $2 }' /proc/meminfo")) < GUEST_MIB * 1024

    stand.shell(f"(fill words {FILLED_MIB} > /run/words 2>&1 &)")
    until(lambda: overflow.status()["saved_bytes"] > 60 * MIB, PATIENCE, lambda: stand.shell("cat /run/words; free"))
    assert "filled" not in stand.shell("cat /run/words")
    overflow.signal("one", fault)

    said = until(lambda: stand.shell("grep -v filled /run/words"), PATIENCE, lambda: repr(overflow.status()))
    told = overflow.status()
    print(f"{fault.name}: saved {told['saved_bytes'] // MIB} MiB, returned {told['returned_bytes'] // MIB} MiB")
    assert said.strip() == f"sum {sum_of_words()}"
    assert told["takeovers"] == 1 and told["primary"] == overflow.control("two") and told["lost_bytes"] == 0
    assert told["saved_bytes"] > (FILLED_MIB - GUEST_MIB) * MIB < told["returned_bytes"]


def test_guest_of_160_mib_verifies_300_mib_though_the_primary_stalls(stand):
    fill_more_than_there_is(stand, signal.SIGSTOP)


def test_traffic_stops_when_memory_suffices_again_after_the_primary_was_killed(stand):
    """What another program had to page out comes home, and nothing is left at the servers."""
    stand.shell(f"(fill run small {SMALL_MIB} > /run/small 2>&1 &)")
    until(lambda: stand.count("small") > 0, PATIENCE, "it has filled its memory")
    fill_more_than_there_is(stand, signal.SIGKILL)
    held = stand.overflow.status()["held_bytes"]
    until(lambda: stand.overflow.status()["held_bytes"] < MIB, PATIENCE, lambda: repr(stand.overflow.status()))
    assert held > SMALL_MIB * MIB / 2, "nothing was left to come home"
    said = stand.overflow.status()
    counted = stand.count("small")
    until(lambda: stand.count("small") > counted + 50, PATIENCE, "it goes on, and finds what it wrote")
    told = stand.overflow.status()
    assert (told["saved_bytes"], told["returned_bytes"]) == (said["saved_bytes"], said["returned_bytes"])
    assert "/dev/vda" in stand.shell("cat /proc/swaps"), "it is there for the next time"


# ---- by the policy alone ----

WEB = """\
      - name: web
        kind: plain
        memory: 32MiB
        start:
          active: {command: [/usr/bin/fill, run, web, "8"]}
"""


class PolicyStand(PairStand):
    """A pair whose guest a overflows to memory servers, as its policy says."""

    def __init__(self, servers=("one", "two"), memory="512MiB"):
        self.overflow = None
        super().__init__(None, "p", ("a", "b"), GUEST_MIB, [("web", 32)], start=False)
        self.overflow = MemoryServers(self.session, servers, memory)
        self.start(True)

    def text(self, overflow):
        text = policy(applications=(WEB,)).replace("base: 192MiB", f"base: {GUEST_MIB}MiB")
        if overflow:
            text = text.replace(f"domain: a, base: {GUEST_MIB}MiB",
                                f"domain: a, base: {GUEST_MIB}MiB, "
                                f"overflow: {{servers: [{', '.join(self.overflow.servers)}], "
                                f"mirror: {'yes' if len(self.overflow.servers) > 1 else 'no'}, size: 512MiB}}")
        return self.overflow.policy() + text

    def start(self, overflow):
        self.failoverd.start(self.text(overflow), options=("--pager-plugin", self.overflow.pager_plugin))

    def pager(self):
        """What the pager of a's overflow says of itself."""
        try:
            with open(self.session.path("runtime/pagers/a/status")) as f:
                return json.load(f)
        except FileNotFoundError:
            return {}

    def said(self, words):
        return any(words in event["text"] for event in self.failoverd.events("p"))

    def stall(self):
        """Both servers stand still for a while under the guest, which is no failure of the guest's."""
        for name in ("one", "two"):
            self.overflow.signal(name, signal.SIGSTOP)
        until(lambda: self.said("space stalled"), 30, lambda: repr(self.pager()))
        for name in ("one", "two"):
            self.overflow.signal(name, signal.SIGCONT)
        until(lambda: self.said("memory servers answer again"), 30, lambda: repr(self.pager()))
        until(lambda: self.pager()["mirror_state"] == "complete", 60, lambda: repr(self.pager()))

    def pager_pids(self):
        mark = f"parameters={self.session.path('runtime/pagers/a.conf')}".encode()
        return [pid for pid in self.session.processes() if mark in cmdline(pid)]

    def slices(self):
        """Those of the overflow disk that are on."""
        return [line.split()[0] for line in self.shell("a", "cat /proc/swaps").splitlines() if "/dev/vd" in line]

    def is_on(self):
        return self.slices() != []

    def count(self, name):
        words = self.shell("a", f"cat /run/{name}.count 2>/dev/null").split()
        return int(words[0]) if words else 0

    def close(self):
        try:
            super().close()
        finally:
            if self.overflow:
                self.overflow.close()


def cmdline(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return f.read().split(b"\0")
    except OSError:
        return []


def test_policy_alone_lets_a_guest_outgrow_its_memory_and_takes_that_back(request):
    """The primary is killed in the middle and so is failoverd; at last the policy wants no overflow any more."""
    with PolicyStand() as stand:
        request.node.stand = stand
        until(stand.is_on, PATIENCE, lambda: stand.failoverd.log())
        until(lambda: stand.pager()["mirror_state"] == "complete", 60, lambda: repr(stand.pager()))
        stand.shell("a", f"(fill words {FILLED_MIB} > /run/words 2>&1 &)")
        until(lambda: stand.pager()["saved_bytes"] > 40 * MIB, PATIENCE, lambda: repr(stand.pager()))
        assert "filled" not in stand.shell("a", "cat /run/words")
        stand.stall()
        stand.overflow.signal("one", signal.SIGKILL)
        pids = stand.pager_pids()
        stand.failoverd.kill()
        stand.start(True)

        said = until(lambda: stand.shell("a", "grep -v filled /run/words"), PATIENCE, lambda: repr(stand.pager()))
        assert said.strip() == f"sum {sum_of_words()}"
        told = stand.pager()
        assert told["takeovers"] == 1 and told["lost_bytes"] == 0 and told["owner"] == "a"
        assert stand.pager_pids() == pids and len(pids) == 1, "it is the same one, and the only one"

        assert stand.failoverd.ctl("policy", "apply", stand.session.write("without", stand.text(False))).returncode == 0
        until(lambda: not stand.is_on(), PATIENCE, lambda: stand.failoverd.log())
        until(lambda: not stand.pager_pids(), 60, lambda: stand.failoverd.log())
        assert "failover-overflow" not in stand.session.virsh("dumpxml", "a").stdout
        assert stand.guests.state("a") == "running" and stand.failoverd.flows("p") == []


def fill_server(stand, name, mib, owner="other"):
    """Somebody else's pages take that much of the server. Returns the process, with which they go."""
    socket = stand.session.path(f"{owner}.nbd")
    other = stand.session.spawn("nbdkit", "--foreground", "--unix", socket, stand.overflow.pager_plugin, "size=1GiB",
                                "node=n2", f"owner={owner}", "lock=no", "mirror=no",
                                f"server={stand.overflow.control(name)},{stand.overflow.uri(name)}", log=f"{owner}.log")
    until(lambda: accepts(socket), 30, "the other pager")
    subprocess.run(["qemu-io", "-f", "raw", "-c", f"write -P 0xa5 0 {mib}M", f"nbd+unix:///?socket={socket}"],
                   check=True, stdout=subprocess.DEVNULL, timeout=60)
    return other


def test_slices_of_the_overflow_disk_go_and_come_with_the_servers_room(request):
    """The server has room for two slices of four. Somebody else fills it while the guest has pages there: they come
    home, slice by slice, and none is lost. When there is room again, so is the guest's swap."""
    with PolicyStand(("one",), "300MiB") as stand:
        request.node.stand = stand
        stand.shell("a", "true", 90)
        until(lambda: stand.said("memory servers have room for"), PATIENCE, lambda: stand.failoverd.log())
        until(lambda: len(stand.slices()) == 2, PATIENCE, lambda: stand.failoverd.log())
        stand.shell("a", f"(fill run small {SMALL_MIB} > /run/small 2>&1 &)")
        until(lambda: stand.count("small") > 0, 30, "it has filled its memory")
        stand.shell("a", "(fill words 130 > /run/words 2>&1 &)")
        until(lambda: stand.pager()["saved_bytes"] > 20 * MIB, PATIENCE, lambda: repr(stand.pager()))
        other = fill_server(stand, "one", 150)
        until(lambda: len(stand.slices()) < 2, PATIENCE, lambda: stand.shell("a", "cat /proc/swaps; free"))
        until(lambda: stand.shell("a", "grep sum /run/words"), PATIENCE, lambda: stand.shell("a", "free"))
        assert stand.shell("a", "grep sum /run/words").strip() == f"sum {sum_of_words(130)}"

        until(lambda: stand.pager()["held_bytes"] < 60 * MIB, PATIENCE, lambda: repr(stand.pager()))
        more = fill_server(stand, "one", 60, "more")
        until(lambda: not stand.is_on(), PATIENCE, lambda: stand.shell("a", "cat /proc/swaps; free"))
        counted = stand.count("small")
        until(lambda: stand.count("small") > counted + 50, 30, "it goes on, and finds what it wrote")
        assert stand.pager()["lost_bytes"] == 0 and stand.pager()["held_bytes"] < MIB
        assert "I/O error" not in stand.shell("a", "dmesg")

        for process in (other, more):
            process.terminate()
        until(lambda: len(stand.slices()) == 2, PATIENCE, lambda: stand.shell("a", "cat /proc/swaps; free"))
