# SPDX-License-Identifier: LGPL-2.1-or-later
"""Programs that find each other at failoverd's name server."""
import contextlib
import errno
import os
import signal

import pytest
from failoverd import Failoverd
from region import MIB, Failed
from server import SECONDS
from testbed.wait import until

SIZE = 4 * MIB


@pytest.fixture
def failoverd(tmp_path):
    with contextlib.closing(Failoverd(str(tmp_path), "/nonexistent/depot.sock")) as one:
        yield one


def told(client):
    """What a check fails with; None: it does not."""
    try:
        client.ask("check")
    except Failed as failed:
        return failed.what
    return None


def test_a_share_is_found_by_its_name_until_its_owner_ends(clients, failoverd):
    owner, other, reader, late = clients(), clients(), clients(), clients()
    owner.ask("share", "prices", size=SIZE, names=failoverd.names)
    owner.ask("fill", 5)
    reader.open("prices", names=failoverd.names)
    assert reader.number("size") == SIZE and reader.number("verify", 5) == 0
    what, text = other.fails("share", "prices", size=SIZE, names=failoverd.names)
    assert what == errno.EPERM and f"held by process {owner.process.pid}" in text
    assert late.fails("open", "ledger", names=failoverd.names)[0] == errno.ENOENT    # the policy's
    owner.kill()
    until(lambda: not failoverd.regions()["names"], SECONDS, failoverd.log)
    assert late.fails("open", "prices", names=failoverd.names)[0] == errno.ENOENT
    other.ask("share", "prices", size=SIZE, names=failoverd.names)
    late.open("prices", names=failoverd.names)


def test_a_share_outlives_failoverd_for_those_who_have_found_it(clients, failoverd):
    owner, reader = clients(), clients()
    owner.ask("share", "prices", size=SIZE, names=failoverd.names)
    owner.ask("fill", 5)
    reader.open("prices", names=failoverd.names)
    failoverd.close()
    assert reader.number("verify", 5) == 0


def test_a_name_is_registered_again_when_failoverd_was_restarted(clients, failoverd, tmp_path):
    owner, gone, late = clients(), clients(), clients()
    owner.ask("share", "prices", size=SIZE, names=failoverd.names)
    owner.ask("fill", 5)
    gone.ask("share", "rates", size=SIZE, names=failoverd.names)
    failoverd.close()
    gone.ask("close")    # what waits for a name server does not hold it up
    with contextlib.closing(Failoverd(str(tmp_path), "/nonexistent/depot.sock")) as again:
        name = until(lambda: again.regions()["names"], SECONDS, again.log)[0]
        assert (name["name"], name["pid"]) == ("prices", owner.process.pid)
        late.open("prices", names=again.names)
        assert late.number("verify", 5) == 0
        assert late.fails("open", "rates", names=again.names)[0] == errno.ENOENT


def test_a_name_ends_with_its_owner_whatever_the_owners_children_do(clients, failoverd):
    owner, other = clients(), clients()
    owner.ask("share", "prices", size=SIZE, names=failoverd.names)
    child = owner.number("fork-and-stay")
    try:
        owner.kill()
        until(lambda: not failoverd.regions()["names"], SECONDS, failoverd.log)
        other.ask("share", "prices", size=SIZE, names=failoverd.names)
        os.kill(child, 0)    # it was there all the time
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_program_is_told_that_another_one_has_its_name(clients, failoverd, tmp_path):
    owner, thief = clients(), clients()
    owner.ask("share", "prices", size=SIZE, names=failoverd.names)
    owner.ask("check")
    failoverd.close()
    until(lambda: told(owner) == errno.ENOTCONN, SECONDS, "the name server is missed")
    owner.process.send_signal(signal.SIGSTOP)
    with contextlib.closing(Failoverd(str(tmp_path), "/nonexistent/depot.sock")) as again:
        thief.ask("share", "prices", size=SIZE, names=again.names)
        owner.process.send_signal(signal.SIGCONT)
        until(lambda: told(owner) == errno.EPERM, SECONDS, "the loss is told")
        assert f"process {thief.process.pid}" in owner.fails("check")[1]
        thief.kill()
        until(lambda: told(owner) is None, SECONDS, "it has its name again")
