# SPDX-License-Identifier: LGPL-2.1-or-later
"""A pager whose pages are saved each at a server that is chosen anew."""
import os
import random
import subprocess

from server import MIB, PAGE, name, page
from test_pager import finish, writers_at
from testbed.wait import until
from writer import Shadow, write_more

PER_SAVE = ("save=per-save",)


def share(server, holder, primary=True):
    """The space of one holder at a server."""
    found = server.ask("spaces", **name(space=f"swap@{holder}"))
    return found[0] if found and found[0]["role"] == ("primary" if primary else "mirror") else None


def held(server, holder):
    found = share(server, holder)
    return found["held_bytes"] if found else 0


def until_all_mirrored(pager):
    until(lambda: all(s["mirror_state"] == "complete" and s["state"] == "serving" for s in pager.status()["shares"]),
          30, lambda: repr(pager.status()))


def spread_pager(pagers, servers, **options):
    pager = pagers(servers, parameters=PER_SAVE + options.pop("parameters", ()), **options)
    until(lambda: len(pager.status().get("shares", [])) == len(servers), 30, pager.log)
    return pager


def test_pages_at_several_servers_are_asked_for_only_with_a_status_file(servers, pagers):
    """Without one, nobody knows which of two copies of a page is the latest."""
    pager = pagers([servers(), servers()])
    command = [word for word in pager.command if not word.startswith(("status=", "--unix", pager.socket))]
    done = subprocess.run([*command, "--unix", f"{pager.dir}/other", "save=per-save", "return=asked"],
                          capture_output=True, text=True, timeout=30)
    assert done.returncode != 0 and "goes with status=" in done.stderr


def test_pages_are_saved_at_all_servers_and_each_is_there_once(servers, pagers):
    three = [servers() for _ in range(3)]
    pager = spread_pager(pagers, three, size="48MiB", parameters=("mirror=no",))
    handle = pager.connect()
    for number in range(6144):
        handle.pwrite(page(number), number * PAGE)
    parts = [held(server, i + 1) for i, server in enumerate(three)]
    assert sum(parts) == 24 * MIB and min(parts) > 6 * MIB, parts
    for number in range(6144):
        assert handle.pread(PAGE, number * PAGE) == page(number)
    assert handle.pread(MIB, 24 * MIB) == bytes(MIB)
    handle.trim(24 * MIB, 0)
    until(lambda: not any(held(server, i + 1) for i, server in enumerate(three)), 30, "it is all given back")


def test_parts_of_pages_trims_and_moves_are_right(servers, pagers):
    """The same random requests go to the pager and to a plain array, while servers become full and empty again."""
    small, large = servers("16MiB"), servers("64MiB")
    pager = spread_pager(pagers, [small, large], size="8MiB", parameters=("mirror=no",))
    hog = small.connect(small.open(space="hog"))
    shadow = Shadow(pager.connect(), bytes(8 * MIB), random.Random(11))
    for turn in range(3000):
        if turn % 1000 == 250:
            hog.pwrite(os.urandom(12 * MIB), 0)
            until(lambda: pager.status()["shares"][0]["room_bytes"] < 4 * MIB, 30, "the pager knows that it is full")
        elif turn % 1000 == 750:
            hog.trim(16 * MIB, 0)
            until(lambda: pager.status()["shares"][0]["room_bytes"] > 4 * MIB, 30, "the pager knows of the room")
        shadow.request((1, 100, PAGE, PAGE + 1, 5 * PAGE, 20000, 70000))
    shadow.check()
    until(lambda: pager.status()["leftover_bytes"] == 0 and pager.status()["moved_bytes"] > 0, 30,
          lambda: repr(pager.status()))
    assert held(small, 1) + held(large, 2) == shadow.held_bytes()


def test_a_full_server_takes_no_page_and_none_is_lost(servers, pagers):
    small, large = servers("16MiB"), servers("64MiB")
    pager = spread_pager(pagers, [small, large], size="64MiB", parameters=("mirror=no",))
    handle = pager.connect()
    for number in range(0, 56 * MIB // PAGE):
        handle.pwrite(page(number), number * PAGE)
    assert held(small, 1) + held(large, 2) == 56 * MIB and held(large, 2) > 40 * MIB
    for number in range(0, 56 * MIB // PAGE):
        assert handle.pread(PAGE, number * PAGE) == page(number)


def test_a_server_that_is_killed_costs_no_page_and_saves_go_elsewhere(servers, pagers):
    three = [servers() for _ in range(3)]
    pager = spread_pager(pagers, three)
    until_all_mirrored(pager)
    writers = writers_at(pager)
    for server in three:
        write_more(writers)
        server.kill()
        write_more(writers)
        server.start()
        write_more(writers)
        told = pager.status()["time_usec"]
        until(lambda: pager.status()["time_usec"] > told + 1_500_000, 30, "it tells of what is now")
        until_all_mirrored(pager)
    finish(pager, writers)
    assert pager.status()["lost_bytes"] == 0
