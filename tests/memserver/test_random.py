# SPDX-License-Identifier: LGPL-2.1-or-later
"""One space through a row of random misfortunes and planned moves, with clients that write all the while: no page that
was acknowledged is lost, and old servers and old connections never come through. TEST_SEED repeats a run."""
import os
import random
import time

import nbd
import pytest
from server import MIB, PAGE, name
from testbed.wait import until
from writer import Writer, answered, run_world, write_more

SIZE = 16 * MIB
WRITERS = 3
PAGES = SIZE // PAGE // WRITERS
ROUNDS = 8
DEADLINE = 4.0
STALLS = (0.1, 0.5, None)    # seconds, short of the deadline; until it has passed


class World:
    def __init__(self, servers, seed):
        self.dice = random.Random(seed)
        self.new_server = lambda: servers("64MiB")
        self.primary, self.keeper = self.new_server(), self.new_server()
        self.token, self.log = 1, []
        self.capability = self.primary.open(size=SIZE)
        self.writers = [self.writer(self.capability, i) for i in range(WRITERS)]
        self.old = []    # connections that must be refused for ever
        self.mirror()

    def writer(self, capability, i, before=None):
        writer = Writer(self.primary, capability, i * PAGES, PAGES, self.dice.random(), before)
        writer.start()
        return writer

    def mirror(self):
        self.primary.mirror(self.keeper, token=self.token, deadline=DEADLINE)
        self.primary.until_mirror("complete")

    def write_a_while(self):
        write_more(self.writers, self.dice.randrange(10, 200), 60)

    def go_on_at(self, server, capability):
        """Clients go on where the space is served now, and find what they left."""
        for writer in self.writers:
            writer.finish()
        self.primary, self.capability = server, capability
        handle = server.connect(capability)
        for writer in self.writers:
            writer.check(handle)
        self.writers = [self.writer(capability, i, before) for i, before in enumerate(self.writers)]

    # ---- what can happen ----

    def mirror_stalls(self):
        seconds = self.dice.choice(STALLS)
        self.keeper.stop()
        if seconds is None:
            self.primary.until_mirror("connecting")
        else:
            time.sleep(seconds)
        self.keeper.go_on()
        self.write_a_while()
        self.primary.until_mirror("complete")

    def primary_is_killed(self):
        self.primary.kill()
        for writer in self.writers:
            writer.join()
        self.token += 1
        capability = self.keeper.promote(token=self.token, answered=answered(self.writers))
        server, self.keeper = self.keeper, self.new_server()
        self.go_on_at(server, capability)
        self.mirror()

    def primary_stalls_and_wakes_too_late(self):
        old = self.primary
        old.stop()
        self.token += 1
        capability = self.keeper.promote(token=self.token, answered=answered(self.writers))
        old.go_on()
        for writer in self.writers:
            writer.join()
        self.old += [writer.handle for writer in self.writers]
        server, self.keeper = self.keeper, self.new_server()
        self.go_on_at(server, capability)
        self.mirror()

    def space_moves(self):
        target, old = self.new_server(), self.primary
        rate = self.dice.choice((8, 64)) * MIB
        old.mirror(target, call="hand-over", token=self.token, rate_bytes=rate, deadline=DEADLINE)
        until(lambda: old.space()["hand_over"] in ("filling", "complete"), 60, "it begins")
        self.write_a_while()
        if self.dice.randrange(2):
            target.stop()
            time.sleep(STALLS[0])
            target.go_on()
        old.until_mirror("complete", call="hand-over", seconds=60)
        self.token += 1
        capability = target.promote(token=self.token)
        for writer in self.writers:
            writer.join()
            assert writer.error == 1, writer.error    # EPERM
        self.old += [writer.handle for writer in self.writers]
        self.go_on_at(target, capability)
        old.drop(token=self.token)
        self.keeper.drop(token=self.token)
        self.mirror()

    def mirror_is_replaced(self):
        self.primary.ask("unmirror", **name())
        self.keeper = self.new_server()
        self.write_a_while()
        self.mirror()

    def space_is_granted_anew(self):
        self.token += 1
        capability = self.primary.grant(token=self.token)
        for writer in self.writers:
            writer.join()
            assert writer.error == 1, writer.error
        self.old += [writer.handle for writer in self.writers]
        self.go_on_at(self.primary, capability)

    def check_old(self):
        for handle in self.old:
            with pytest.raises(nbd.Error):
                handle.pwrite(bytes(PAGE), 0)

    def run(self):
        events = [self.mirror_stalls, self.primary_is_killed, self.primary_stalls_and_wakes_too_late, self.space_moves,
                  self.mirror_is_replaced, self.space_is_granted_anew]
        for _ in range(ROUNDS):
            event = self.dice.choice(events)
            self.log.append(event.__name__)
            self.write_a_while()
            event()
            self.check_old()
        self.write_a_while()
        self.go_on_at(self.primary, self.capability)
        for writer in self.writers:
            writer.finish()


@pytest.mark.parametrize("seed", [int(os.environ["TEST_SEED"])] if "TEST_SEED" in os.environ else range(3))
def test_no_acknowledged_page_is_lost_whatever_happens(servers, seed):
    run_world(World(servers, seed), seed)
