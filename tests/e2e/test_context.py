# SPDX-License-Identifier: LGPL-2.1-or-later
"""A VM's memory and processors go to memory servers, and it goes on from there as if nothing had been."""
import os
import random
import re
import signal
import sys

import pytest

from testbed.console import Console
from testbed.guests import BUILD, SOURCE, Guests
from testbed.session import USER_OF_ROOT, Session
from testbed.wait import until

sys.path.insert(0, os.path.join(SOURCE, "tests/memserver"))

from server import Server    # noqa: E402

OTHER_USER = "games"
MIB = 1 << 20
GUEST_MIB = 160
COUNT = ("( (i={}; while true; do i=$((i+1)); echo $i > /run/n; echo \"n=$i;\"; usleep 50000; done)"
         " > /dev/ttyS0 2>&1 &); true")


class Place:
    """A user's libvirt, and failoverctl."""

    def __init__(self, servers, *user):
        self.session = Session(*user)
        self.guests = None
        self.session.start_bus()
        self.session.start_libvirtd()
        self.failoverctl = self.session.copy(f"{BUILD}/daemon/ctl/failoverctl", "failoverctl")
        self.options = [f"--server={server.control_path},nbd+unix:///?socket={server.socket}" for server in servers]
        self.guests = Guests(self.session)

    def command(self, *arguments):
        return [self.failoverctl, "--user", "context", *arguments, *self.options]

    def context(self, *arguments, code=0):
        done = self.session.run(*self.command(*arguments), check=False)
        assert code in (None, done.returncode), done
        return done.stdout + done.stderr

    def state(self):
        return self.guests.state("a")

    def number(self, name="a"):
        """The file is empty for a moment each time."""
        return int(until(lambda: self.guests[name].run("cat /run/n", 60).strip(), 60, "it has a number"))

    def counts(self, name="a"):
        before = self.number(name)
        return until(lambda: self.number(name) > before, 30, "it counts")

    def start(self, name="a", first=0):
        """A guest that counts up from there."""
        self.session.virsh("start", name)
        self.guests[name].run(COUNT.format(first), 90)
        until(lambda: self.guests[name].run("cat /run/n 2>/dev/null"), 30, "it counts")

    def end(self, name="a"):
        self.session.virsh("destroy", name, check=False)

    def close(self):
        if self.guests:
            self.guests.close()
        self.session.close()


def let_in(server):
    """The users too, not only root."""
    os.chmod(server.dir, 0o755)
    os.chmod(server.socket, 0o666)


def lose(server):
    server.kill()
    os.unlink(server.socket)


def bring_back(server):
    server.start()
    let_in(server)


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    users = [] if os.geteuid() else [f"control-user={user}" for user in (USER_OF_ROOT, OTHER_USER)]
    servers = [Server("256MiB", f"persist={tmp_path_factory.mktemp('spaces')}", *users) for _ in range(2)]
    for server in servers:
        let_in(server)
    yield servers
    for server in servers:
        server.close()


@pytest.fixture(scope="module")
def here(servers):
    place = Place(servers)
    place.guests.define("a", GUEST_MIB, [], f"--disk=vda:{place.session.make_disk('img/d.raw', 16)}")
    place.guests.define("m", GUEST_MIB, [])
    yield place
    place.close()


@pytest.fixture
def vm(here, servers):
    """Runs and counts; nothing of it is on the servers, before and after."""
    here.start()
    yield here
    here.end()
    for server in servers:
        for space in server.ask("spaces"):
            server.drop(token=space["token"], **{key: space[key] for key in ("node", "owner", "space")})
    left = set(os.listdir(here.session.path("cache/failoverd"))) - {"context.key"}
    assert not left


def space_of(server, name):
    return next(space for space in server.ask("spaces") if space["space"] == f"context:{name}")


def open_space(server, name):
    """As somebody does who has got at the server."""
    space = space_of(server, name)
    which = {key: space[key] for key in ("node", "owner", "space")}
    return server.connect(server.grant(token=space["token"] + 1, **which))


def test_counter_goes_on_from_the_next_number_under_another_users_libvirt(here, servers):
    there = Place(servers, OTHER_USER)
    try:
        here.start("m")
        here.session.virsh("suspend", "m")    # so that nobody misses what it says when it goes on
        assert "m is saved as context move" in here.context("save", "m", "move")
        assert here.guests.state("m") == "shut off"
        assert re.search(r"^move +m .* complete +saved$", here.context("list"), re.M)
        # What libvirt opens lies elsewhere for the other user.
        xml = there.context("xml", "move").replace(here.session.dir, there.session.dir)
        xml = there.session.write("m.xml", xml)
        assert "was not saved with the key" in there.context("resume", "move", "--xml", xml, code=1)
        said = there.context("resume", "move", "--xml", xml, "--force")
        assert "m is there, paused, as it was" in said
        there.guests.consoles["m"] = Console(there.session.path("s/m.console"))
        until(there.guests["m"].connected, 30, "its console is heard")
        there.session.virsh("resume", "m")
        assert there.counts("m")
        number = there.number("m")
        text = here.guests["m"].text + there.guests["m"].text
        seen = [int(n) for n in re.findall(r"n=(\d+);", text)]
        assert seen == list(range(1, len(seen) + 1)) and len(seen) >= number
        assert "move" not in here.context("list")
    finally:
        here.end("m")
        there.end("m")
        there.close()


def test_checkpoint_is_taken_while_the_vm_counts_on_and_resumed_when_it_is_lost(here):
    here.start("m")
    try:
        before, pid = here.number("m"), here.guests.pid("m")
        here.context("checkpoint", "m", "point")
        kept = here.number("m")
        assert here.counts("m") and here.guests.pid("m") == pid
        assert "runs there already" in here.context("resume", "point", code=1)
        until(lambda: here.number("m") > 2 * kept + 20, 60, "it has gone further")
        os.kill(pid, signal.SIGKILL)
        until(lambda: here.guests.state("m") == "shut off", 30, "it is lost")
        said = here.context("resume", "point", "--keep")
        assert "m runs as it was" in said
        assert before <= here.number("m") <= 2 * kept + 20 and here.counts("m")
        assert "point" in here.context("list")
    finally:
        here.end("m")
        here.context("drop", "point", code=None)


def test_checkpoint_of_a_vm_with_a_disk_is_resumed_with_the_disk_as_it_was(vm):
    guest, disk = vm.guests["a"], vm.session.path("img/d.raw")
    write = "echo {} | dd of=/dev/vda bs=512 count=1 conv=sync,fsync 2>/dev/null"
    read = "echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/vda bs=512 count=1 2>/dev/null"
    guest.run(write.format("before"))
    try:
        vm.context("checkpoint", "a", "point")
        frozen = os.stat(disk).st_mtime_ns
        guest.run(write.format("after"))
        number = vm.number()
        for turn in range(2):    # what it kept is still there after it was resumed from
            assert "after" in guest.run(read)
            vm.end()
            vm.context("resume", "point", "--keep")
            assert vm.counts() and "before" in guest.run(read, 60)
            assert vm.number() < number + 100
            guest.run(write.format("after"))
        assert os.stat(disk).st_mtime_ns == frozen
        assert sorted(os.listdir(vm.session.path("img"))) == [
            "d.raw", "d.raw.point", "d.raw.point.lost-1", "d.raw.point.lost-2", "initramfs.cpio", "vmlinuz"]
        vm.context("drop", "point")
    finally:
        vm.end()
        vm.session.virsh("define", vm.session.path("a.xml"))    # as it was
        for name in os.listdir(vm.session.path("img")):
            if name.startswith("d.raw."):
                os.remove(vm.session.path(f"img/{name}"))


def test_two_contexts_are_swapped_back_and_forth_on_one_vm(vm):
    vm.context("save", "a", "small")
    small = None
    vm.start(first=1000000)
    for turn in range(2):
        big = vm.number()
        vm.context("swap", "a", "--out", "big", "--in", "small")
        small, before = vm.number(), small
        assert small < 1000000 and (before is None or small >= before) and vm.counts()
        assert "big" in vm.context("list") and "small" not in vm.context("list")
        small = vm.number()
        vm.context("swap", "a", "--out", "small", "--in", "big")
        assert big <= vm.number() and vm.counts()


def test_damaged_and_truncated_contexts_are_refused_and_the_running_vm_is_untouched(vm, servers):
    vm.context("save", "a", "old")
    vm.start(first=1000000)
    pid = vm.guests.pid("a")
    handle = open_space(servers[0], "old")
    place = 4096 + random.Random(5).randrange(20 * MIB)
    byte = handle.pread(1, place)
    handle.pwrite(bytes([byte[0] ^ 1]), place)
    handle.shutdown()
    said = vm.context("swap", "a", "--out", "new", "--in", "old", code=1)
    assert "context old cannot be resumed: it is damaged: chunk" in said
    handle = open_space(servers[0], "old")
    handle.pwrite(byte, place)
    handle.trim(16 * MIB, 16 * MIB)
    handle.shutdown()
    said = vm.context("swap", "a", "--out", "new", "--in", "old", code=1)
    assert "context old cannot be resumed" in said and ("damaged" in said or "missing" in said)
    assert vm.state() == "running" and vm.guests.pid("a") == pid and vm.counts()
    assert "new" not in vm.context("list")


def test_a_disk_that_was_written_since_is_not_resumed(vm):
    vm.context("save", "a", "old")
    vm.start(first=1000000)
    vm.guests["a"].run("dd if=/dev/zero of=/dev/vda bs=4k count=1 conv=fsync")
    said = vm.context("swap", "a", "--out", "new", "--in", "old", code=1)
    assert "vda" in said and "has changed since the context was saved" in said
    assert vm.state() == "running" and vm.counts()


def held_in_the_middle(vm, servers):
    """A save that is under way, and stands still before its context is whole: from then on the VM may be ended."""
    for attempt in range(5):
        process = vm.session.spawn(*vm.command("save", "a", "night"), log="save.log")
        until(lambda: vm.state() != "running", 30, "it is under way")
        process.send_signal(signal.SIGSTOP)
        if process.poll() is None and space_of(servers[0], "night")["token"] == 1:
            return process
        process.send_signal(signal.SIGCONT)    # it was faster than who looks
        assert process.wait(60) == 0
        vm.context("drop", "night")
        vm.start()
    pytest.fail("no save was caught in the middle")


def test_ctrl_c_lets_the_vm_go_on_and_leaves_nothing(vm, servers):
    process = held_in_the_middle(vm, servers)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    assert process.wait(60) == 1
    assert vm.state() == "running" and vm.counts()
    assert servers[0].ask("spaces") == [] == servers[1].ask("spaces")
    with open(vm.session.path("save.log")) as f:
        assert "it was given up; VM a goes on as it was" in f.read()


def test_killed_in_the_middle_it_leaves_a_paused_vm_and_an_unfinished_context(vm, servers):
    process = held_in_the_middle(vm, servers)
    process.kill()
    process.wait()
    until(lambda: "unfinished" in vm.context("list"), 30, "the server sees that nobody is there")
    assert "was never finished" in vm.context("resume", "night", code=1)
    vm.context("drop", "night")
    vm.session.virsh("resume", "a")
    assert vm.counts()
    vm.context("save", "a", "night", "--dry-run")    # and tidies up


def test_the_primarys_server_is_lost_and_the_mirror_has_it_all(vm, servers):
    before = vm.number()
    vm.context("save", "a", "night")
    lose(servers[0])
    try:
        vm.context("resume", "night", "--force")
        assert vm.number() >= before and vm.counts()
    finally:
        bring_back(servers[0])


def test_both_servers_lose_power_and_a_persistent_context_comes_back(vm, servers):
    before = vm.number()
    vm.context("save", "a", "night", "--persist")
    for server in servers:
        lose(server)
        bring_back(server)
    assert "--force" in vm.context("resume", "night", code=1)    # somebody may have resumed it meanwhile
    vm.context("resume", "night", "--force")
    assert vm.number() >= before and vm.counts()
    assert "night" not in vm.context("list")
