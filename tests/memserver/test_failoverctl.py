# SPDX-License-Identifier: LGPL-2.1-or-later
"""failoverctl servers and spaces, asked of real servers."""
import csv
import json
import os
import subprocess

from server import BUILD, MIB, SECONDS, name

FAILOVERCTL = os.path.join(BUILD, "daemon/ctl/failoverctl")


def ctl(*arguments, code=0):
    done = subprocess.run([FAILOVERCTL, *arguments], capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == code, done
    return done.stdout + done.stderr


def test_servers_tells_load_and_who_does_not_answer(servers):
    one, other = servers("64MiB"), servers("32MiB", "spill=spill", "spill-size=16MiB")
    one.connect(one.open()).pwrite(os.urandom(3 * MIB), 0)
    other.ask("drain", on=True)
    rows = [line.split() for line in ctl("servers", one.control_path, other.control_path).splitlines()]
    assert rows[1] == [one.control_path, "64MiB", "3MiB", "0MiB", "0MiB", "1", "1", "serving"]
    assert rows[2] == [other.control_path, "32MiB", "0MiB", "16MiB", "0MiB", "0", "0", "draining"]
    gone = one.path("nowhere")
    assert gone in ctl("servers", gone, one.control_path, code=1)
    assert json.loads(ctl("servers", "--json", one.control_path))["servers"][0]["memory_used_bytes"] == 3 * MIB


def test_spaces_tells_where_pages_are_and_what_was_moved(servers):
    primary, keeper = servers(), servers()
    handle = primary.connect(primary.open())
    handle.pwrite(os.urandom(2 * MIB), 0)
    handle.pread(MIB, 0)
    primary.mirror(keeper)
    primary.until_mirror("complete")
    keeper.open(owner="vm2")
    text = ctl("spaces", primary.control_path, keeper.control_path)
    spaces, clients = ([line.split() for line in part.splitlines()[1:]] for part in text.split("\n\n"))
    assert ["n1", "vm1", "swap", primary.control_path, "primary", "complete", "16MiB", "2MiB"] in spaces
    assert ["n1", "vm1", "swap", keeper.control_path, "mirror", "complete", "16MiB", "2MiB"] in spaces
    assert ["n1", "vm2", "swap", keeper.control_path, "primary", "none", "16MiB", "0MiB"] in spaces
    assert ["n1", "vm1", primary.control_path, "2MiB", "2MiB", "1MiB"] in [line[:6] for line in clients]
    told = json.loads(ctl("spaces", "--json", primary.control_path))
    assert told["version"] == 1 and told["spaces"] == [{**primary.space(**name()), "control": primary.control_path}]


def test_spaces_prints_csv_for_who_bills(servers):
    server = servers()
    server.connect(server.open()).pwrite(os.urandom(MIB), 0)
    (row,) = csv.DictReader(ctl("spaces", "--csv", "--since", "1h", server.control_path).splitlines())
    assert (row["node"], row["owner"], row["saved_bytes"], row["returned_pages"]) == ("n1", "vm1", str(MIB), "0")
    assert int(row["span_usec"]) > 0
    assert "--since takes" in ctl("spaces", "--since", "soon", code=2)
