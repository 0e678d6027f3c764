# SPDX-License-Identifier: LGPL-2.1-or-later
"""The right to write an application's regions, as failoverd asks their holders for it."""
import errno
import json
import os
import subprocess

import nbd
import pytest
from server import BUILD, MIB, PAGE, page

ASK = os.path.join(BUILD, "tests/memserver/grant-regions")


class Answer:
    def __init__(self, text):
        result, token, self.text, self.list = text.split("\n")[:4]
        self.errno, self.token = -int(result), int(token)
        self.regions = json.loads(self.list)["regions"] if self.list else []

    def connect(self, server, name="orders", epochs=True):
        """As the program does that is handed the list."""
        region = next(region for region in self.regions if region["name"] == name)
        capability = region["uri"].split("/")[3].split("?")[0]
        return server.connect(capability + (".epoch" if epochs else ""))


def region(server, name="orders", size=MIB, kind=3, lost="hold", guests="nbds://192.0.2.1:4711/"):
    return f"{name}:{size}:{kind}:{lost}:{server.control_path}:{guests}"


def ask(how, token, *regions, seconds=10):
    return Answer(subprocess.run([ASK, how, str(token), str(int(seconds * 1000)), *regions],
                                 check=True, capture_output=True, text=True, timeout=60).stdout)


def grant(token, *regions, new=False, other=False, seconds=10):
    return ask("new" if new else "other" if other else "known", token, *regions, seconds=seconds)


def test_a_new_region_is_opened_and_its_program_told_where_it_is(server):
    answer = grant(1, region(server), region(server, "log", kind=1, guests="nbd+vsock://2"), new=True)
    assert answer.errno == 0 and [r["name"] for r in answer.regions] == ["orders", "log"]
    first, second = answer.regions
    assert first["kind"] == 3 and first["write"] and first["write-back-ms"] == 200 and first["epochs"]
    assert first["uri"].startswith("nbds://192.0.2.1:4711/") and len(first["uri"].split("/")[3]) == 64
    assert second["uri"].startswith("nbd+vsock://2/") and "epochs" not in second
    handle = answer.connect(server)
    handle.pwrite(page(1), 0)
    handle.flush()


def test_a_later_grant_finds_the_data_and_refuses_who_had_the_region(server):
    old = grant(1, region(server), new=True).connect(server)
    old.pwrite(page(1, "whole"), 0)
    old.flush()
    old.pwrite(page(1, "half"), 0)
    answer = grant(2, region(server))
    assert answer.errno == 0 and "orders was written back" in answer.text
    with pytest.raises(nbd.Error) as refused:
        old.flush()
    assert refused.value.errnum == errno.EPERM
    new = answer.connect(server)
    assert new.pread(PAGE, 0) == page(1, "whole")


def test_a_token_that_is_no_higher_is_told_with_the_holders(server):
    grant(7, region(server), new=True)
    for token in (6, 7):
        answer = grant(token, region(server))
        assert answer.errno == errno.ESTALE and answer.token == 7 and not answer.regions
    assert server.space(owner="orders", space="orders")["token"] == 7


def test_a_region_that_was_lost_is_made_anew_only_where_the_policy_says_so(server):
    answer = grant(3, region(server))
    assert answer.errno == errno.ENOENT and "has lost region orders" in answer.text and not answer.regions
    answer = grant(3, region(server, lost="start"))
    assert answer.errno == 0 and "begins empty" in answer.text and len(answer.regions) == 1


def test_a_region_of_a_host_that_was_renamed_is_not_lost(server):
    capability = server.open(size=MIB, node="former", owner="orders", space="orders")
    answer = grant(3, region(server))
    assert answer.errno == errno.EEXIST and "host former's" in answer.text and not answer.regions
    assert "drop" not in answer.text    # it may be another host's, whose application has stopped for a while
    used = server.connect(capability)    # so it is somebody else's
    answer = grant(3, region(server))
    assert answer.errno == errno.ENOENT
    used.shutdown()


def test_an_unused_region_of_another_host_does_not_keep_one_from_beginning_empty(server):
    server.open(size=MIB, node="other", owner="orders", space="orders")
    answer = grant(3, region(server, lost="start"))
    assert answer.errno == 0 and "host other's, which is left there" in answer.text and "begins empty" in answer.text
    assert server.space(node="other", owner="orders", space="orders")["role"] == "primary"


def test_a_holder_that_does_not_answer_costs_the_deadline_and_holds_the_grant(servers):
    server, silent = servers(), servers()
    silent.stop()
    answer = grant(1, region(server), region(silent, "log"), new=True, seconds=2)
    assert answer.errno == errno.ENOTCONN and "no answer within the deadline" in answer.text and not answer.list
    assert "bring it back, or write holder-lost: start" in answer.text
    assert grant(1, region(server), new=True).errno == 0    # nothing was begun there for a grant that failed
    answer = grant(2, region(server), region(silent, "log", lost="start"), seconds=2, other=True)
    assert answer.errno == errno.ENOTUNIQ and "who had log lives and may write there: bring" in answer.text
    assert server.space(owner="orders", space="orders")["token"] == 1
    answer = grant(3, region(server), region(silent, "log", lost="start"), seconds=2)
    assert answer.errno == 0 and "started without it" in answer.text
    assert [r["name"] for r in answer.regions] == ["orders"]


def test_a_silent_holder_takes_nothing_from_the_living_ones(servers):
    server, silent = servers(), servers()
    both = [region(silent, "log", lost="start"), region(server, lost="start")]
    old = grant(1, *both, new=True).connect(server)
    silent.stop()
    answer = grant(2, *both, seconds=2)
    assert answer.errno == 0 and answer.text.startswith("log is out of reach, started without it")
    assert "orders is out of reach" not in answer.text and [r["name"] for r in answer.regions] == ["orders"]
    assert server.space(owner="orders", space="orders")["token"] == 2
    with pytest.raises(nbd.Error):    # its writer is no more the one
        old.pwrite(page(1), 0)
        old.flush()
    answer = grant(3, region(silent, "log"), region(server), seconds=2)
    assert answer.errno == errno.ENOTCONN and silent.control_path in answer.text


def test_another_size_in_the_policy_is_refused(server):
    grant(1, region(server), new=True)
    answer = grant(2, region(server, size=2 * MIB))
    assert answer.errno == errno.EINVAL and "1MiB" in answer.text


def test_a_region_that_moved_away_and_back_does_not_go_on_with_what_it_left(servers):
    depot, annex = servers(), servers()
    old = grant(1, region(depot), new=True).connect(depot)
    old.pwrite(page(1, "old"), 0)
    old.flush()
    later = ask("moved", "5:1", region(annex)).connect(annex)
    later.pwrite(page(1, "latest"), 0)
    later.flush()
    answer = ask("moved", "6:5", region(depot))
    assert answer.errno == errno.ENODATA and not answer.regions
    assert "name the server that had it last, or write holder-lost: start" in answer.text
    assert depot.space(owner="orders", space="orders")["token"] == 1
    answer = ask("moved", "6:5", region(depot, lost="start"))
    assert answer.errno == 0 and "which is not the latest" in answer.text
    assert answer.connect(depot).pread(PAGE, 0) == page(1, "old")


def test_what_is_left_is_gone_on_with_where_nothing_was_granted_elsewhere_since(servers):
    """Moved away and back with no start in between; or taken out, and in again, also by another application."""
    depot = servers()
    old = grant(4, region(depot), new=True).connect(depot)
    old.pwrite(page(1, "latest"), 0)
    old.flush()
    for how, token in ("moved", "5:4"), ("new", "6:0"), ("new", "9:8"):
        answer = ask(how, token, region(depot))
        assert answer.errno == 0 and answer.connect(depot).pread(PAGE, 0) == page(1, "latest")
