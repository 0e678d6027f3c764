# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest that outgrows its memory pages out to memory servers, and loses nothing when one of them does."""
import json
import signal
import subprocess

import nbd

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


def sum_of_words(mib=FILLED_MIB, seed=0):
    n = mib * MIB // 8
    return WORD * (n * (n - 1) // 2 + n * (seed << 32)) % 2**64


class Process:
    """A process of a node that has its memory at a server by itself: any NBD client."""
    PAGES = 1024

    def __init__(self, overflow, server, node, owner):
        self.mark = f"{node}/{owner}/"
        capability = overflow.ask(server, "open", node=node, owner=owner, space="heap", size_bytes=self.PAGES * 4096,
                                  token=1)["capability"]
        self.nbd = nbd.NBD()
        self.nbd.connect_uri(overflow.uri(server).replace("///", f"///{capability}"))

    def page(self, number):
        return (f"{self.mark}{number};".encode() * 4096)[:4096]

    def write(self):
        for number in range(self.PAGES):
            self.nbd.pwrite(self.page(number), number * 4096)

    def check(self):
        for number in range(self.PAGES):
            assert self.nbd.pread(4096, number * 4096) == self.page(number)
        self.nbd.shutdown()


class TwoNodes:
    """Guest a of node n1 and guest b of node n2, each with a pager attached by hand. Two of four servers have pages of
    both; a's are balanced between three."""

    def __init__(self):
        self.session = Session()
        self.guests = self.overflow = None
        try:
            self.session.start_bus()
            self.session.start_libvirtd()
            self.guests = Guests(self.session)
            for vm in ("a", "b"):
                self.guests.define(vm, GUEST_MIB, [])
                self.session.virsh("start", vm)
            self.overflow = Overflow(self.session, ("one", "two", "three", "four"), "1GiB")
            self.overflow.start_pager("a", "n1", "512MiB", ("one", "two", "three"), *self.overflow.balanced)
            self.overflow.start_pager("b", "n2", "512MiB", ("four", "one"))
        except BaseException:
            self.close()
            raise

    def attach(self, vm):
        self.guests[vm].run("true", 90)
        self.overflow.attach(vm)
        until(lambda: "/dev/vda" in self.guests[vm].run("cat /proc/swaps"), PATIENCE, "the agent switches the disk on")
        assert int(self.guests[vm].run("awk '/^MemTotal/ { print $2 }' /proc/meminfo")) < GUEST_MIB * 1024

    def fill(self, vm, seed):
        self.guests[vm].run(f"(fill words {FILLED_MIB} {seed} > /run/words 2>&1 &)")

    def said(self, vm):
        """By the program that fills and verifies, at its end."""
        return until(lambda: self.guests[vm].run("grep -v filled /run/words", PATIENCE), PATIENCE,
                     lambda: repr(self.overflow.status(vm))).strip()

    def close(self):
        if self.guests:
            self.guests.close()
        if self.overflow:
            self.overflow.close()
        self.session.close()


def test_guests_and_processes_of_two_nodes_never_mix_while_pages_are_moved_and_a_server_stalls(request):
    """Each guest fills 300 MiB of 160 and verifies every word, and two processes on each node have memory of their own.
    In the middle of that b's server stands still, and the one that has a's pages is told to be rid of them."""
    stand = TwoNodes()
    request.addfinalizer(stand.close)
    overflow = stand.overflow
    processes = [Process(overflow, server, node, owner) for node in ("n1", "n2")
                 for owner, server in (("process:7", "one"), ("process:8", "two"))]
    for process in processes:
        process.write()
    for seed, vm in enumerate(("a", "b"), 1):
        stand.attach(vm)
        stand.fill(vm, seed)

    for vm in ("b", "a"):
        until(lambda: overflow.status(vm)["saved_bytes"] > 60 * MIB, PATIENCE, lambda: repr(overflow.status(vm)))
        if vm == "b":
            overflow.signal("four", signal.SIGSTOP)
    (source,) = [name for name in overflow.servers if overflow.control(name) == overflow.status()["primary"]]
    assert overflow.ask(source, "drain", on=True)["result"] == 0
    until(lambda: overflow.status()["primary"] != overflow.control(source), PATIENCE, lambda: repr(overflow.status()))

    for node, vm, seed in (("n1", "a", 1), ("n2", "b", 2)):
        assert stand.said(vm) == f"sum {sum_of_words(seed=seed)}"
        told = overflow.status(vm)
        print(f"{vm}: saved {told['saved_bytes'] // MIB} MiB, returned {told['returned_bytes'] // MIB} MiB")
        assert told["lost_bytes"] == 0 and (told["node"], told["owner"]) == (node, vm)
        assert told["saved_bytes"] > (FILLED_MIB - GUEST_MIB) * MIB < told["returned_bytes"]
    assert overflow.status("b")["takeovers"] > 0
    overflow.until(PATIENCE, "b", primary=overflow.control("one"))
    for process in processes:
        process.check()


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

    def until_quiet(self):
        """The pages are home, and who has them goes on without the servers."""
        until(lambda: self.pager()["held_bytes"] < MIB, PATIENCE, lambda: repr(self.pager()))
        before = self.pager()
        counted = self.count("small")
        until(lambda: self.count("small") > counted + 50, PATIENCE, "it goes on, and finds what it wrote")
        after = self.pager()
        assert (after["saved_bytes"], after["returned_bytes"]) == (before["saved_bytes"], before["returned_bytes"])

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
    """Both servers stall, which is no failure of the guest's; then the primary is killed in the middle, and so is
    failoverd. What another program had to page out comes home when memory suffices again, and no traffic is left. At
    last the policy wants no overflow any more."""
    with PolicyStand() as stand:
        request.node.stand = stand
        until(stand.is_on, PATIENCE, lambda: stand.failoverd.log())
        until(lambda: stand.pager()["mirror_state"] == "complete", 60, lambda: repr(stand.pager()))
        stand.shell("a", f"(fill run small {SMALL_MIB} > /run/small 2>&1 &)")
        until(lambda: stand.count("small") > 0, PATIENCE, "it has filled its memory")
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
        assert told["saved_bytes"] > (FILLED_MIB - GUEST_MIB) * MIB < told["returned_bytes"]
        assert stand.pager_pids() == pids and len(pids) == 1, "it is the same one, and the only one"
        assert told["held_bytes"] > SMALL_MIB * MIB / 2, "nothing was left to come home"
        stand.until_quiet()
        assert stand.is_on(), "it is there for the next time"

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
        until(lambda: stand.count("small") > 0, PATIENCE, "it has filled its memory")
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
        until(lambda: stand.count("small") > counted + 50, PATIENCE, "it goes on, and finds what it wrote")
        assert stand.pager()["lost_bytes"] == 0 and stand.pager()["held_bytes"] < MIB
        assert "I/O error" not in stand.shell("a", "dmesg")

        for process in (other, more):
            process.terminate()
        until(lambda: len(stand.slices()) == 2, PATIENCE, lambda: stand.shell("a", "cat /proc/swaps; free"))
