# SPDX-License-Identifier: LGPL-2.1-or-later
"""failoverctl program: programs that are started out of server memory."""
import json
import os
import shutil
import signal
import subprocess

import pytest
from server import BUILD, MIB, SECONDS, run
from testbed.wait import until

FAILOVERCTL = os.path.join(BUILD, "daemon/ctl/failoverctl")
LARGE = os.path.join(BUILD, "tests/memserver/large-program")
PAGES = 2048    # of LARGE's constants: more than 8 MiB
SYS_ADMIN = 21


def may_mount():
    """Whether this user can mount a file system in user space here."""
    with open("/proc/self/status") as f:
        (effective,) = [int(line.split()[1], 16) for line in f if line.startswith("CapEff:")]
    return os.access("/dev/fuse", os.R_OK | os.W_OK) and bool(effective >> SYS_ADMIN & 1 or shutil.which("fusermount3"))


mounts = pytest.mark.skipif(not may_mount(), reason="no file system in user space can be mounted here (/dev/fuse)")


def named(*servers):
    """Options: these, and a key beside the first one."""
    words = [word for one in servers for word in ("--server", f"{one.control_path},nbd+unix:///?socket={one.socket}")]
    return [*words, "--key", servers[0].path("key")]


def ctl(*arguments, code=0):
    done = subprocess.run([FAILOVERCTL, "program", *arguments], capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == code, done
    return done.stdout + done.stderr


class Large:
    """LARGE, started out of the servers' memory."""

    def __init__(self, *servers, name="large", arguments=()):
        self.process = subprocess.Popen([FAILOVERCTL, "program", "run", name, *named(*servers), "--", *arguments],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True)

    def ask(self, first, last):
        self.process.stdin.write(f"{first} {last}\n")
        self.process.stdin.flush()

    def touch(self, first, last):
        """It reads those pages, and they are what was compiled into it."""
        self.ask(first, last)
        assert self.process.stdout.readline() == f"{sum(range(first + 1, last + 2))}\n"

    def end(self):
        """Its exit code, and what was said of it; the process that fetches pages has ended too when this returns."""
        _, told = self.process.communicate(timeout=2 * SECONDS)
        return self.process.returncode, told


@pytest.fixture
def large(servers):
    """Starts some, and ends them before their servers."""
    started = []

    def start(*arguments, **options):
        started.append(Large(*arguments, **options))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate(timeout=SECONDS)


def mounted():
    with open("/proc/mounts") as f:
        return "failover-program" in f.read()


def space(server, program="large"):
    (found,) = [s for s in server.ask("spaces") if s["space"] == f"program:{program}"]
    return found


def returned(server):
    return sum(client["returned_bytes"] for client in server.ask("clients"))


@mounts
def test_the_pages_of_a_program_come_as_it_runs(servers, large):
    server = servers()
    assert "verified" in ctl("put", LARGE, "large", *named(server))
    before = returned(server)
    program = large(server, arguments=("7",))
    program.touch(0, 0)
    assert os.readlink(f"/proc/{program.process.pid}/exe").endswith("/large"), "it is the one that was started"
    assert returned(server) - before < 2 * MIB
    program.touch(1000, 1400)
    assert returned(server) - before < 5 * MIB
    program.touch(0, PAGES - 1)
    fetched = returned(server) - before
    assert 8 * MIB < fetched < 16 * MIB
    program.touch(0, PAGES - 1)
    assert returned(server) - before == fetched    # what is there is there
    until(lambda: not mounted(), SECONDS, "nobody else sees the image")
    assert program.end() == (7, "")
    until(lambda: space(server)["connections"] == 0, SECONDS, "nothing of it is left")


@mounts
def test_what_is_ignored_is_ignored_in_the_program_too(servers):
    """As under nohup(1)."""
    server = servers()
    ctl("put", shutil.which("grep"), "grep", *named(server))
    command = [FAILOVERCTL, "program", "run", "grep", *named(server), "--", "SigIgn", "/proc/self/status"]
    for trap in "trap '' HUP INT; ", "":
        said = [subprocess.run(["sh", "-c", trap + 'exec "$@"', "sh", *words], capture_output=True, text=True,
                               timeout=SECONDS, check=True).stdout for words in (command, ["grep", *command[-2:]])]
        assert said[0] == said[1] and said[0].startswith("SigIgn"), said


@mounts
def test_several_run_out_of_one_image_and_it_is_not_dropped_meanwhile(servers, large):
    server = servers()
    ctl("put", LARGE, "large", *named(server))
    several = [large(server) for _ in range(3)]
    for number, one in enumerate(several):
        one.touch(number * 500, number * 500 + 600)
    assert "runs" in ctl("list", *named(server))
    assert "runs" in ctl("drop", "large", *named(server), code=1)
    for one in several:
        one.touch(0, PAGES - 1)
        assert one.end() == (0, "")
    until(lambda: space(server)["connections"] == 0, SECONDS, "nobody reads it")
    ctl("drop", "large", *named(server))
    assert "no memory server has it" in ctl("run", "large", *named(server), code=125)


@mounts
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_programs_go_on_at_the_mirror_when_their_server_is_lost(servers, large, how):
    primary, mirror = servers(), servers()
    ctl("put", LARGE, "large", *named(primary, mirror))
    programs = [large(primary, mirror) for _ in range(2)]
    for one in programs:
        one.touch(0, 100)
    if how == signal.SIGKILL:
        primary.kill()
    else:
        primary.stop()
    for one in programs:
        one.ask(200, PAGES - 1)    # both at once
    for one in programs:
        assert one.process.stdout.readline() == f"{sum(range(201, PAGES + 1))}\n"
        code, told = one.end()
        assert code == 0 and f"its memory server is lost, it goes on at {mirror.control_path}" in told
    ctl("run", "large", "--dry-run", *named(primary, mirror))
    late = large(primary, mirror)
    late.touch(0, PAGES - 1)
    assert late.end()[0] == 0
    assert space(mirror)["role"] == "mirror"    # who reads it changes nothing
    if how == signal.SIGSTOP:    # so that what was away is as good as before
        primary.go_on()
        mirror.kill()
        ctl("run", "large", "--dry-run", *named(primary, mirror))


@mounts
def test_without_a_copy_a_page_that_is_lost_is_a_bus_error_that_is_told(servers, large):
    server = servers()
    ctl("put", LARGE, "large", *named(server))
    program = large(server)
    program.touch(0, 100)
    server.kill()
    server.start()    # with nothing in it
    program.touch(0, 100)    # these are here
    program.ask(1000, 1000)
    code, told = program.end()
    assert code == -signal.SIGBUS
    assert "program large: what touches its bytes from" in told and "no memory server has it any more" in told


def overwrite(server, offset, data):
    """As somebody who can write at the memory server."""
    found = space(server)
    which = {key: found[key] for key in ("node", "owner", "space")}
    handle = server.connect(server.grant(token=found["token"] + 1, **which))
    handle.pwrite(data, offset)
    handle.shutdown()


@mounts
def test_a_damaged_block_is_an_error_where_it_is_touched_and_is_found_beforehand(servers, large):
    server = servers()
    ctl("put", LARGE, "large", *named(server))
    overwrite(server, space(server)["size_bytes"] - 3 * MIB, b"damage")
    program = large(server)
    program.touch(0, 500)
    program.ask(0, PAGES - 1)
    code, told = program.end()
    assert code == -signal.SIGBUS and "it is damaged: bytes" in told
    assert "it is damaged: bytes" in ctl("run", "large", "--dry-run", *named(server), code=1)


@mounts
def test_a_block_that_is_damaged_at_one_server_comes_from_the_other_which_stays_a_mirror(servers, large):
    primary, mirror = servers(), servers()
    ctl("put", LARGE, "large", *named(primary, mirror))
    found = space(primary)
    primary.ask("unmirror", **{key: found[key] for key in ("node", "owner", "space")})
    overwrite(primary, found["size_bytes"] - 3 * MIB, b"damage")
    program = large(primary, mirror)
    program.touch(0, PAGES - 1)
    assert program.end() == (0, "")
    assert space(mirror)["role"] == "mirror"
    told = ctl("run", "large", "--dry-run", *named(primary, mirror), code=1)
    assert f"at {primary.control_path}: it is damaged: bytes" in told


@mounts
@pytest.mark.parametrize("stays", ["primary", "mirror"])
def test_of_two_images_of_one_name_the_newer_is_started(servers, stays):
    """One server was away when the older was dropped. What has the newer is a mirror, be the older one's a primary."""
    new, away, mirror = servers(), servers(), servers()

    def at(*some):
        return [*named(*some)[:-2], "--key", new.path("key")]

    other = [away, new] if stays == "primary" else [new, away]
    ctl("put", shutil.which("true"), "tool", *at(*other))
    away.stop()
    assert "one server did not answer" in ctl("drop", "tool", *at(away, new), code=1)
    ctl("put", shutil.which("echo"), "tool", *at(new, mirror))
    away.go_on()
    for _ in range(2):
        told = run(FAILOVERCTL, "program", "run", "tool", *at(away, new, mirror), "--", "the newer one")
        assert told == "the newer one\n"
        new.kill()    # then at its mirror
    assert space(away, "tool")["role"] == stays


@mounts
def test_a_block_that_its_server_cannot_read_is_an_error_at_once(servers, large):
    server = servers("16MiB", "spill=spill", "spill-size=64MiB")
    ctl("put", LARGE, "large", *named(server))
    other = server.connect(server.open(size=32 * MIB))
    other.pwrite(os.urandom(32 * MIB), 0)    # the image makes room
    server.break_spill()
    program = large(server)
    told = program.end()[1]
    assert "Input/output error" in told and "is lost" not in told, "it is not waited for"


@pytest.mark.parametrize("offset,said", [(20, "its head is damaged"), (4096 + 40, "the sums of its blocks are")])
def test_a_program_with_damaged_sums_is_not_started(servers, offset, said):
    server = servers()
    ctl("put", LARGE, "large", *named(server))
    overwrite(server, offset, b"damage")
    assert said in ctl("run", "large", *named(server), code=125)


@mounts
def test_what_nobody_vouches_for_is_started_only_by_force(servers):
    server = servers()
    ctl("put", LARGE, "large", *named(server))
    os.unlink(server.path("key"))
    assert "vouch for it yourself by --force" in ctl("run", "large", *named(server), code=125)
    done = subprocess.run([FAILOVERCTL, "program", "run", "large", "--force", *named(server)], input="5 5\n",
                          capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode, done.stdout) == (0, "6\n")


def test_what_cannot_be_put_leaves_nothing(servers, tmp_path):
    server, small = servers(), servers("16MiB")
    (tmp_path / "script").write_text("#!/bin/sh\n")
    assert "no executable (ELF) file" in ctl("put", str(tmp_path / "script"), "large", *named(server), code=1)
    assert "name is of letters" in ctl("put", LARGE, "a b", *named(server), code=1)
    ctl("put", LARGE, "one", *named(small))
    assert "no room" in ctl("put", LARGE, "two", *named(small), code=1)
    assert [s["space"] for s in small.ask("spaces")] == ["program:one"]
    assert "is there already" in ctl("put", LARGE, "one", *named(small), code=1)
    (told,) = json.loads(ctl("list", "--json", *named(small)))["programs"]
    assert (told["name"], told["state"], told["copy"], told["persistent"]) == ("one", "there", "none", False)


@mounts
def test_a_program_may_have_its_image_and_its_data_in_server_memory(servers):
    """The counter of failover-region(3): its code comes from one space, and what it counts is in another."""
    server = servers()
    ctl("put", os.path.join(BUILD, "agents/region/example-region"), "counter", *named(server))
    uri = server.uri(server.open(size=MIB))
    for first in (1, 11):
        told = run(FAILOVERCTL, "program", "run", "counter", *named(server), "--", "orders", uri,
                   env={**os.environ, "LD_LIBRARY_PATH": os.path.join(BUILD, "agents/region")})
        assert told.split() == [str(n) for n in range(first, first + 10)]
