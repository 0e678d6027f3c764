# SPDX-License-Identifier: LGPL-2.1-or-later
"""Memory that is really resident, region by region, against what the applications have written."""
from expect import table_adds_up
from testbed.wait import until

MIB = 1 << 20


def resident(pair):
    """What the table says is resident, by key. Asked twice: the first look begins a new survey."""
    until(lambda: not pair.failoverd.json("table")["surveying"], 10, "the survey is at its end")
    return {key: row["resident_bytes"] for key, row in pair.failoverd.table().items()}


def process_rss(pair, domain):
    with open(f"/proc/{pair.guests.pid(domain)}/statm") as f:
        return int(f.read().split()[1]) * 4096


def test_table_tells_the_resident_memory_of_each_region(home):
    """db fills 96 MiB of its 128, web 32 of its 64; a standby's devices hold nothing, so all of it is elsewhere."""
    until(lambda: home.count("a", "db") > 0 and home.count("a", "web") > 0, 60, "both have filled their memory")
    # each of a survey's answers is at most a few seconds old, and the guests stand still meanwhile
    until(lambda: (resident(home)["p:a:db"] or 0) >= 96 * MIB, 20, "the table shows db's memory")
    found = resident(home)
    assert 96 * MIB <= found["p:a:db"] <= 128 * MIB
    assert 32 * MIB <= found["p:a:web"] <= 64 * MIB
    assert 32 * MIB <= found["p:a"] <= 192 * MIB and 32 * MIB <= found["p:b"] <= 192 * MIB
    assert 20 * MIB <= found["overhead"]
    # All of two processes is accounted for: what is neither a region nor a system is QEMU's own.
    parts = sum(found[key] for key in ("p:a", "p:b", "p:a:db", "p:a:web", "overhead"))
    whole = sum(process_rss(home, domain) for domain in home.domains)
    assert abs(parts - whole) < 0.05 * whole
    table_adds_up(home)


def test_resident_memory_moves_with_the_region(home):
    home.failoverd.must("switch", "p")
    until(lambda: home.count("b", "db") > 0, 60, "db has filled its region on b")
    until(lambda: (resident(home).get("p:b:db") or 0) >= 96 * MIB, 20, "the table shows db's memory on b")
    assert "p:a:db" not in resident(home)
    table_adds_up(home)


def test_status_tells_each_vms_overhead(pair):
    until(lambda: all(m["memory"]["overhead_bytes"] for m in pair.status()["members"]), 20, "overheads are known")
    for member in pair.status()["members"]:
        memory = member["memory"]
        assert 20 * MIB < memory["overhead_bytes"] < memory["resident_bytes"]
