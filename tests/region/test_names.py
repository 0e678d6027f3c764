# SPDX-License-Identifier: LGPL-2.1-or-later
"""Programs that find each other at failoverd's name server."""
import contextlib
import errno

import pytest
from failoverd import Failoverd
from region import MIB
from server import SECONDS
from testbed.wait import until

SIZE = 4 * MIB


@pytest.fixture
def failoverd(tmp_path):
    with contextlib.closing(Failoverd(str(tmp_path), "/nonexistent/depot.sock")) as one:
        yield one


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
