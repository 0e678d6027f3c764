# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest that outgrows its memory pages out to memory servers, and loses nothing when one of them does."""
import signal

import pytest

from testbed.guests import Guests
from testbed.overflow import Overflow
from testbed.session import Session
from testbed.wait import until

MIB = 1 << 20
GUEST_MIB, FILLED_MIB = 160, 300
WORD = 0x9e3779b97f4a7c15    # of tests/guest/fill.c


def sum_of_words():
    n = FILLED_MIB * MIB // 8
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


@pytest.mark.parametrize("fault", ["SIGKILL", "SIGSTOP"])
def test_guest_of_160_mib_verifies_300_mib_though_the_primary_is_lost(fault, stand):
    overflow = stand.overflow
    stand.shell("true", 60)
    overflow.attach("a")
    until(lambda: stand.shell("[ -b /dev/vda ] && echo there").strip(), 30, "the guest sees the disk")
    stand.shell("mkswap /dev/vda && swapon /dev/vda")
    assert int(stand.shell("awk '/^MemTotal/ { print $2 }' /proc/meminfo")) < GUEST_MIB * 1024

    stand.shell(f"(fill words {FILLED_MIB} > /run/words 2>&1 &)")
    until(lambda: overflow.status()["saved_bytes"] > 60 * MIB, 60, lambda: stand.shell("cat /run/words; free"))
    assert "filled" not in stand.shell("cat /run/words")
    overflow.signal("one", getattr(signal, fault))

    said = until(lambda: stand.shell("grep -v filled /run/words"), 90, lambda: repr(overflow.status()))
    told = overflow.status()
    print(f"{fault}: saved {told['saved_bytes'] // MIB} MiB, returned {told['returned_bytes'] // MIB} MiB")
    assert said.strip() == f"sum {sum_of_words()}"
    assert told["takeovers"] == 1 and told["primary"] == overflow.control("two") and told["lost_bytes"] == 0
    assert told["saved_bytes"] > (FILLED_MIB - GUEST_MIB) * MIB < told["returned_bytes"]
