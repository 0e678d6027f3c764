# SPDX-License-Identifier: LGPL-2.1-or-later
"""A pager through a row of random misfortunes of its servers, one at a time, with clients that write all the while: no
page that was acknowledged is lost, and no client sees more of it than the time it takes. TEST_SEED repeats a run."""
import os
import random
import time

import pytest
from test_pager import finish, mirrored, writers_at
from testbed.wait import until
from writer import run_world, write_more

ROUNDS = 6
DEADLINE = "2s"
STALLS = (0.1, 0.5, 4.0)    # seconds: short of the deadline, and past it


class World:
    def __init__(self, servers, pagers, seed):
        self.dice = random.Random(seed)
        self.pager, *self.servers = mirrored(servers, pagers, n=3, deadline=DEADLINE)
        self.writers = writers_at(self.pager)
        self.log = []

    def server(self, role):
        path = self.pager.status()[role]
        return next(one for one in self.servers if one.control_path == path)

    def dies(self, role):
        server = self.server(role)
        server.kill()
        if self.dice.randrange(2):
            write_more(self.writers)
        server.start()

    def stalls(self, role):
        server = self.server(role)
        server.stop()
        time.sleep(self.dice.choice(STALLS))
        server.go_on()

    def until_mirrored(self):
        until(lambda: self.pager.status()["state"] == "serving" and self.pager.status()["mirror_state"] == "complete",
              60, lambda: repr(self.pager.status()))

    def run(self):
        for _ in range(ROUNDS):
            what, role = self.dice.choice((self.dies, self.stalls)), self.dice.choice(("primary", "mirror"))
            self.log.append(f"{role} {what.__name__}")
            what(role)
            # what is told may be from before the misfortune: only what is written after it proves that it is over
            write_more(self.writers)
            told = self.pager.status()["time_usec"]
            until(lambda: self.pager.status()["time_usec"] > told + 1_500_000, 30, "it tells of what is now")
            self.until_mirrored()
        finish(self.pager, self.writers)
        assert self.pager.status()["lost_bytes"] == 0


@pytest.mark.parametrize("seed", [int(os.environ["TEST_SEED"])] if "TEST_SEED" in os.environ else range(1))
def test_no_acknowledged_page_is_lost_whatever_happens_to_servers(servers, pagers, seed):
    run_world(World(servers, pagers, seed), seed)
