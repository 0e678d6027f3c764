# SPDX-License-Identifier: LGPL-2.1-or-later
"""An application's region with a mirror: wherever one of the two is lost, the application goes on at the other."""
import errno
import os

import nbd
import pytest
from server import MIB, PAGE, Refused, page
from test_regions_granted import ask, grant, region

ORDERS = {"node": "n1", "owner": "orders", "space": "orders"}


def mirrored(depot, annex, **options):
    return region(depot, guests=depot.uri(""), **options) + f",{annex.control_path}:{annex.uri('')}"


def silent(depot, annex, **options):
    """Nobody answers failoverd at the holder, which works on for the old side."""
    return mirrored(depot, annex, **options).replace(depot.control_path, os.path.join(depot.dir, "nobody"), 1)


def killed_in_the_end(servers):
    """One that ends in peace waits for its mirror, which may be gone."""
    server = servers()
    yield server
    server.kill()


@pytest.fixture
def depot(servers):
    yield from killed_in_the_end(servers)


@pytest.fixture
def annex(servers):
    yield from killed_in_the_end(servers)


def begin(depot, annex):
    """The first writer, once both have the region."""
    answer = grant(1, mirrored(depot, annex), new=True)
    assert answer.errno == 0 and not answer.text, answer.text
    depot.until_mirror("complete", **ORDERS)
    return answer.connect(depot)


def write(handle, version):
    """An epoch of two pages."""
    handle.pwrite(page(1, version), 0)
    handle.pwrite(page(2, version), PAGE)
    handle.flush()


def test_a_killed_holder_costs_nothing_that_was_flushed(depot, annex):
    writer = begin(depot, annex)
    write(writer, "whole")
    writer.pwrite(page(1, "half"), 0)
    depot.kill()
    answer = grant("2:1", mirrored(depot, annex))
    assert answer.errno == 0 and "annex has taken orders over" in answer.text
    assert "orders has no mirror" in answer.text and answer.regions[0]["epochs"]
    writer = answer.connect(annex)
    assert writer.pread(2 * PAGE, 0) == page(1, "whole") + page(2, "whole")
    write(writer, "after")
    assert annex.space(**ORDERS)["token"] == 2


def test_a_holder_that_stood_still_takes_no_write_of_the_old_side(depot, annex):
    writer = begin(depot, annex)
    write(writer, "whole")
    depot.stop()
    answer = grant("2:1", mirrored(depot, annex, lost="start"), seconds=4)
    assert answer.errno == 0 and "annex has taken orders over" in answer.text
    write(answer.connect(annex), "new")
    depot.go_on()
    with pytest.raises(nbd.Error):
        write(writer, "late")
    assert answer.connect(annex, epochs=False).pread(PAGE, 0) == page(1, "new")


def test_a_holder_that_is_back_becomes_the_mirror_and_takes_over_in_turn(depot, annex):
    write(begin(depot, annex), "first")
    depot.kill()
    depot.start()
    answer = grant("2:1", mirrored(depot, annex))
    assert answer.errno == 0 and "no mirror" not in answer.text, answer.text
    annex.until_mirror("complete", **ORDERS)
    write(answer.connect(annex), "second")
    annex.kill()
    answer = grant("3:2", mirrored(depot, annex))
    assert answer.errno == 0 and "depot has taken orders over" in answer.text
    assert answer.connect(depot).pread(PAGE, 0) == page(1, "second")


def test_a_holder_that_was_passed_by_is_not_gone_on_with(depot, annex):
    write(begin(depot, annex), "old")
    depot.stop()
    answer = grant("2:1", mirrored(depot, annex, lost="start"), seconds=4)
    write(answer.connect(annex), "new")
    annex.kill()
    depot.go_on()    # it knows of nothing
    answer = grant("3:2", mirrored(depot, annex))
    assert answer.errno == errno.ENODATA and "depot may lack the latest of region orders" in answer.text
    assert depot.space(**ORDERS)["token"] == 1
    answer = grant(f"3:{2 ** 63 - 1}", mirrored(depot, annex))    # as after the loss of failoverd's store
    assert answer.errno == errno.ENODATA and "nothing is on record" in answer.text
    answer = grant("3:2", mirrored(depot, annex, lost="start"))
    assert answer.errno == 0 and "may not be the latest" in answer.text
    assert answer.connect(depot).pread(PAGE, 0) == page(1, "old")


def test_a_mirror_that_may_lack_pages_does_not_stand_in(depot, annex):
    annex.open(MIB, role="mirror", **ORDERS)    # which nobody has filled
    answer = grant("2:1", mirrored(depot, annex))
    assert answer.errno == errno.ENODATA and "annex may lack the latest" in answer.text and not answer.regions
    assert annex.space(**ORDERS)["role"] == "mirror"
    answer = grant("2:1", mirrored(depot, annex, lost="start"))
    assert answer.errno == 0 and answer.connect(annex).pread(PAGE, 0) == bytes(PAGE)


def test_a_silent_mirror_holds_nothing_up_and_is_given_again_later(depot, annex):
    annex.kill()
    answer = grant(1, mirrored(depot, annex), new=True)
    assert answer.errno == 0 and "orders has no mirror" in answer.text
    write(answer.connect(depot), "alone")
    annex.start()
    answer = grant("2:1", mirrored(depot, annex))
    assert answer.errno == 0 and "no mirror" not in answer.text
    depot.until_mirror("complete", **ORDERS)


def test_a_mirror_that_came_back_empty_is_given_again_while_the_application_runs(depot, annex):
    """As it is looked after, without a grant: what the writer has stays its own."""
    writer = begin(depot, annex)
    write(writer, "first")
    assert ask("tend", 1, mirrored(depot, annex)).text == ""    # nothing is amiss
    annex.kill()
    depot.until_mirror("connecting", **ORDERS)
    answer = ask("tend", 1, mirrored(depot, annex))    # nobody could be its mirror
    assert answer.errno == errno.EAGAIN and answer.text == ""
    annex.start()
    answer = ask("tend", 1, mirrored(depot, annex), seconds=60)
    assert answer.errno == 0 and answer.text == "orders is being mirrored anew, at annex"
    depot.until_mirror("complete", **ORDERS)
    write(writer, "second")
    depot.kill()
    answer = grant("2:1", mirrored(depot, annex))
    assert answer.errno == 0 and answer.connect(annex).pread(PAGE, 0) == page(1, "second")


def test_a_holder_that_reaches_for_another_mirror_than_there_is_gets_one_anew(depot, annex):
    """As a grant leaves it, and who looked after the mirror for the grant before, side by side."""
    write(begin(depot, annex), "first")
    depot.ask("unmirror", **ORDERS)
    annex.ask("drop", token=1, **ORDERS)
    gone = annex.uri(annex.open(MIB, role="mirror", **ORDERS))
    annex.ask("drop", token=1, **ORDERS)
    annex.open(MIB, role="mirror", **ORDERS)    # which nobody reaches for
    depot.ask("mirror", uri=gone, **ORDERS)
    answer = ask("tend", 1, mirrored(depot, annex), seconds=60)
    assert answer.errno == 0 and answer.text == "orders is being mirrored anew, at annex"
    depot.until_mirror("complete", **ORDERS)
    depot.ask("unmirror", **ORDERS)
    annex.ask("drop", token=1, **ORDERS)
    annex.open(MIB, role="mirror", **ORDERS)
    depot.ask("mirror", uri=gone, **ORDERS)
    answer = grant("2:1", mirrored(depot, annex))
    assert answer.errno == 0 and "no mirror" not in answer.text, answer.text
    depot.until_mirror("complete", **ORDERS)
    depot.kill()
    answer = grant("3:2", mirrored(depot, annex))
    assert answer.errno == 0 and answer.connect(annex).pread(PAGE, 0) == page(1, "first")


def test_who_looked_after_mirrors_for_the_grant_before_changes_none(depot, annex):
    begin(depot, annex)
    assert grant("2:1", mirrored(depot, annex)).errno == 0
    with pytest.raises(Refused) as refused:
        depot.ask("unmirror", token=1, **ORDERS)
    assert refused.value.errno == errno.ESTALE and depot.space(**ORDERS)["mirror"] == "complete"
    depot.ask("unmirror", token=2, **ORDERS)
    with pytest.raises(Refused) as refused:
        depot.ask("mirror", uri=annex.uri("0" * 64), token=1, **ORDERS)
    assert refused.value.errno == errno.ESTALE and depot.space(**ORDERS).get("mirror", "none") == "none"


def test_a_mirror_that_the_holder_does_not_reach_is_none(depot, annex):
    unreached = f"{region(depot, guests=depot.uri(''))},{annex.control_path}:nbd+unix:///?socket=/nobody"
    assert grant(1, unreached, new=True).errno == 0
    answer = ask("tend", 1, unreached, seconds=60)
    assert answer.errno == errno.ENOTCONN and "orders has no mirror at annex: depot does not reach it" in answer.text


def test_a_mirror_that_is_had_again_is_told_beside_one_that_is_not(depot, annex):
    """And of a server that does not answer nothing is known: neither that all is well, nor that it is not."""
    unreached = f"{region(depot, 'log', guests=depot.uri(''))},{annex.control_path}:nbd+unix:///?socket=/nobody"
    assert grant(1, mirrored(depot, annex), unreached, new=True).errno == 0
    depot.ask("unmirror", **ORDERS)
    annex.ask("drop", token=1, **ORDERS)
    answer = ask("tend", 1, mirrored(depot, annex), unreached, seconds=60)
    assert answer.errno == errno.ENOTCONN and "log has no mirror at annex" in answer.text
    assert "orders is being mirrored anew, at annex" in answer.text
    annex.kill()
    answer = ask("tend", 1, mirrored(depot, annex), unreached, seconds=60)
    assert answer.errno == errno.EAGAIN and answer.text == ""


def test_what_another_grant_has_is_left_alone_by_who_looks_after_mirrors(depot, annex):
    write(begin(depot, annex), "old")
    depot.stop()
    write(grant("2:1", mirrored(depot, annex, lost="start"), seconds=4).connect(annex), "new")
    depot.go_on()    # a primary too, of an earlier grant
    for token in (1, 2):
        assert ask("tend", token, mirrored(depot, annex)).text == ""
    assert depot.space(**ORDERS)["token"] == 1 and annex.space(**ORDERS)["token"] == 2


def test_a_token_that_the_mirror_has_seen_is_no_new_one(depot, annex):
    begin(depot, annex)
    depot.kill()
    assert grant("5:1", mirrored(depot, annex)).errno == 0
    answer = grant("5:1", mirrored(depot, annex))
    assert answer.errno == errno.ESTALE and answer.token == 5


def test_where_both_are_gone_the_region_is_waited_for(depot, annex):
    begin(depot, annex)
    depot.kill()
    annex.kill()
    answer = grant("2:1", mirrored(depot, annex))
    assert answer.errno == errno.ENOTCONN and not answer.regions
    depot.start()    # empty; the other may have it
    assert grant("2:1", mirrored(depot, annex)).errno == errno.ENOTCONN
    annex.start()
    answer = grant("2:1", mirrored(depot, annex))
    assert answer.errno == errno.ENOENT and "has lost region orders" in answer.text


def test_a_mirror_takes_nothing_from_an_old_side_whose_holder_is_only_out_of_our_reach(depot, annex):
    """What such a holder does with the old side's writes is nothing that its mirror knows."""
    writer = begin(depot, annex)
    write(writer, "whole")
    for lost in ("hold", "start"):
        answer = grant("2:1", silent(depot, annex, lost=lost), other=True)
        assert answer.errno == errno.ENOTUNIQ and "depot is out of reach, and who had orders lives" in answer.text
        assert annex.space(**ORDERS)["role"] == "mirror" and not answer.regions
    write(writer, "after")
    assert grant("2:1", silent(depot, annex)).errno == 0    # behind its fence


def test_an_older_copy_takes_nothing_from_an_old_side_that_a_silent_server_may_serve(depot, annex):
    write(begin(depot, annex), "old")
    depot.stop()
    write(grant("2:1", mirrored(depot, annex, lost="start"), seconds=4).connect(annex), "new")
    depot.go_on()
    annex.stop()
    answer = grant("3:2", mirrored(depot, annex, lost="start"), seconds=4, other=True)
    assert answer.errno == errno.ENOTUNIQ and "annex is out of reach" in answer.text
    assert depot.space(**ORDERS)["token"] == 1


def test_a_grant_that_fails_for_one_region_changes_nothing_at_the_others(depot, annex, servers):
    """No older copy is made the primary for a start that does not come about."""
    annex.open(MIB, role="mirror", **ORDERS)    # which nobody has filled
    held = region(servers(), "log")    # lost
    answer = grant("2:1", silent(depot, annex, lost="start"), held)
    assert answer.errno == errno.ENOENT and not answer.regions
    assert annex.space(**ORDERS)["role"] == "mirror" and annex.space(**ORDERS)["token"] == 1


def test_what_was_granted_and_never_begun_takes_the_place_of_nothing(depot, annex):
    """Of two primaries it is the one on record, whatever token an attempt that failed has left at the other."""
    writer = begin(depot, annex)
    annex.kill()
    annex.start()
    write(writer, "latest")
    annex.open(MIB, role="mirror", **ORDERS)
    answer = grant("2:1", silent(depot, annex, lost="start"))    # failoverd dies before that is on record
    assert answer.errno == 0 and "may not be the latest" in answer.text
    answer = grant("3:1", mirrored(depot, annex, lost="start"), seconds=20)
    assert answer.errno == 0 and answer.connect(depot).pread(PAGE, 0) == page(1, "latest")


def test_a_mirror_that_the_policy_names_no_more_is_missed_where_it_had_the_latest(depot, annex):
    write(begin(depot, annex), "old")
    depot.stop()
    write(grant("2:1", mirrored(depot, annex, lost="start"), seconds=4).connect(annex), "new")
    annex.kill()
    depot.go_on()
    answer = grant("3:2", region(depot, guests=depot.uri("")))
    assert answer.errno == errno.ENODATA and "depot may lack the latest of region orders" in answer.text
    answer = grant("3:2", region(depot, guests=depot.uri(""), lost="start"))
    assert answer.errno == 0 and "may not be the latest" in answer.text


def test_a_holder_that_knows_it_was_replaced_stands_in_for_one_that_lost_all(depot, annex):
    writer = begin(depot, annex)
    write(writer, "old")
    depot.stop()
    assert grant("2:1", mirrored(depot, annex, lost="start"), seconds=4).errno == 0
    depot.go_on()
    with pytest.raises(nbd.Error):
        write(writer, "late")
    assert depot.space(**ORDERS)["mirror"] == "replaced"
    annex.kill()
    annex.start()    # empty
    answer = grant("3:2", mirrored(depot, annex))
    assert answer.errno == errno.ENODATA and "another server has taken its place" in answer.text
    answer = grant("3:2", mirrored(depot, annex, lost="start"))
    assert answer.errno == 0 and "orders goes on with what depot has" in answer.text
    handle = answer.connect(depot)
    assert handle.pread(PAGE, 0) == page(1, "old")
    write(handle, "new")
    with pytest.raises(nbd.Error):    # it is not what it was granted for before
        write(writer, "later still")
