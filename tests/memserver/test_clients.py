# SPDX-License-Identifier: LGPL-2.1-or-later
"""Clients that nobody here wrote work against the server."""
import hashlib
import json
import os

from server import MIB, PAGE, run


def digest(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def test_nbdinfo_describes_a_space(server):
    told = json.loads(run("nbdinfo", "--json", server.uri(server.open(size=16 * MIB))))["exports"][0]
    assert told["export-size"] == 16 * MIB
    assert (told["block_size_minimum"], told["block_size_preferred"]) == (1, PAGE)
    for can in ("trim", "zero", "fast_zero", "flush", "fua", "multi_conn"):
        assert told[f"can_{can}"], can


def test_what_nbdcopy_copies_in_it_copies_out(servers, tmp_path):
    server = servers("96MiB")
    uri = server.uri(server.open(size=64 * MIB))
    with open(tmp_path / "in", "wb") as f:
        f.truncate(64 * MIB)
        for at in range(0, 64, 4):    # half of it holes
            f.seek(at * MIB)
            f.write(os.urandom(2 * MIB + 100))
    run("nbdcopy", str(tmp_path / "in"), uri)
    run("nbdcopy", "--connections=4", uri, str(tmp_path / "out"))
    assert digest(tmp_path / "in") == digest(tmp_path / "out")
    assert os.stat(tmp_path / "out").st_blocks * 512 < 40 * MIB    # holes were told as such
    assert 32 * MIB <= server.space()["held_bytes"] < 33 * MIB


def test_qemu_io_writes_discards_and_reads(server):
    uri = server.uri(server.open())
    done = run("qemu-io", "-f", "raw", "-c", "write -P 7 1000 70000", "-c", "read -P 7 1000 70000",
               "-c", "read -P 0 0 1000", "-c", "discard 4k 8k", "-c", "read -P 0 4k 8k", "-c", "read -P 7 12k 4k",
               "-c", "write -z 12k 4k", "-c", "read -P 0 12k 4k", "-c", "writev -P 3 1M 4k 8k 512",
               "-c", "read -P 3 1M 12800", "-c", "flush", "-c", "aio_write -P 9 2M 1M", "-c", "aio_flush",
               "-c", "read -P 9 2M 1M", uri)
    assert "failed" not in done and "error" not in done.lower()


def test_qemu_img_sees_where_data_is(server):
    uri = server.uri(server.open())
    run("qemu-io", "-f", "raw", "-c", "write -P 1 1M 64k", "-c", "write -P 1 5M 4k", uri)
    told = json.loads(run("qemu-img", "map", "--output=json", "-f", "raw", uri))
    assert [(e["start"], e["length"]) for e in told if e["data"]] == [(MIB, 65536), (5 * MIB, PAGE)]


def test_fio_verifies_what_it_wrote(servers):
    """Memory for a quarter of it, the rest spilled; four jobs at once on parts of their own."""
    server = servers("16MiB", "spill=spill", "spill-size=64MiB")
    uri = server.uri(server.open(size=64 * MIB))
    run("fio", "--name=verify", "--ioengine=nbd", f"--uri={uri}", "--rw=randrw", "--bsrange=4k-64k", "--iodepth=16",
        "--size=16M", "--offset_increment=16M", "--numjobs=4", "--verify=crc32c", "--verify_fatal=1", "--randseed=7",
        "--group_reporting", "--thread", "--verify_state_save=0")
    load = server.load()
    assert load["memory_used_bytes"] == 16 * MIB and load["spill_used_bytes"] > 0 and load["spill_errors"] == 0
