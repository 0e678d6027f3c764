# SPDX-License-Identifier: LGPL-2.1-or-later
"""What programs share with each other, and the library as it is installed."""
import errno
import os
import pathlib
import socket
import subprocess
import sys

import pytest
from region import LAZY, WRITE, region_list
from server import BUILD, MIB, PAGE, SECONDS
from testbed.wait import until

SIZE = 4 * MIB
TESTS = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(TESTS))


def share(client, name="orders", **options):
    return client.ask("share", name, **{"size": SIZE, "names": "", **options})


def children(client):
    """Processes of a program's own."""
    tasks = pathlib.Path(f"/proc/{client.process.pid}/task").glob("*/children")
    return [child for task in tasks for child in task.read_text().split()]


def has_ended(process):
    """Also where nobody has waited for it."""
    try:
        return " Z " in pathlib.Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("kind", [1, 2, 3, 4])
def test_memory_is_shared_and_written_to_at_both_ends(clients, kind):
    owner, one, other = clients(), clients(), clients()
    uri = share(owner, kind=kind, flags=1)
    owner.ask("fill", 5)
    one.open(kind=kind, flags=WRITE, uri=uri)
    assert one.number("verify", 5) == 0
    one.ask("put", PAGE, 1)
    owner.ask("put", 2 * PAGE, 2)
    one.ask("flush")
    assert owner.get(PAGE) == 1 and owner.get(2 * PAGE) == 2
    other.open(kind=kind, uri=uri)
    assert other.get(PAGE) == 1 and other.get(2 * PAGE) == 2


@pytest.mark.parametrize("kind", [1, 2, 3, 4])
def test_a_file_is_shared(clients, kind, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"".join(number.to_bytes(8, "little") for number in range(SIZE // 8 - 3)))
    owner, reader = clients(), clients()
    uri = share(owner, kind=kind, file=file, size=0)
    if kind in (2, 4):    # served from memory alone
        file.write_bytes(b"")
    reader.open(kind=kind, uri=uri)
    assert reader.number("size") == SIZE - 24
    assert reader.number("verify", 0) == 0 and owner.number("verify", 0) == 0


def test_a_file_can_be_written_to(clients, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(bytes(SIZE))
    owner, writer = clients(), clients()
    writer.open(flags=WRITE, uri=share(owner, file=file, size=0, flags=1))
    writer.ask("fill", 3)
    writer.ask("close")
    assert owner.number("verify", 3) == 0
    assert file.read_bytes()[:8] == (3).to_bytes(8, "little")


def test_one_writes_and_a_second_one_is_refused(clients):
    owner, one, other = clients(), clients(), clients()
    uri = share(owner, flags=1)
    one.open(flags=WRITE, uri=uri)
    for kind in (1, 3):
        assert other.fails("open", "orders", uri=uri, flags=WRITE, kind=kind)[0] == errno.EBUSY
    other.open(uri=uri)
    other.ask("close")
    one.ask("close")
    other.open_when_free(flags=WRITE, uri=uri)


def test_nobody_writes_to_what_may_not_be_written_to(clients):
    owner, client = clients(), clients()
    uri = share(owner)
    assert client.fails("open", "orders", uri=uri, flags=WRITE)[0] == errno.EBUSY
    client.open(uri=uri)


def test_a_stranger_is_refused(clients):
    owner, client = clients(), clients()
    uri = share(owner)
    wrong = uri.replace(uri[12:14], "zz", 1)
    assert wrong != uri
    assert isinstance(client.fails("open", "orders", uri=wrong)[0], int)
    for name in ("", uri[12:20], uri[12:44] + ".epoch"):
        assert isinstance(client.fails("open", "orders", uri=f"nbd+unix:///{name}{uri[44:]}")[0], int)
    client.open(uri=uri)


def test_a_name_leads_to_its_owner_and_ends_with_it(clients, names):
    resolver, owner, client = names(), clients(), clients()
    share(owner, names=resolver.path)
    owner.ask("put", 0, 7)
    client.open(names=resolver.path)
    assert client.get(0) == 7 and resolver.known["orders"]["kinds"] == [1, 3]
    client.ask("close")
    owner.kill()
    until(lambda: not resolver.known, SECONDS, "the lease ended")
    assert client.fails("open", "orders", names=resolver.path)[0] == errno.ENOENT


def test_an_owner_that_died_is_an_error_at_the_deadline(clients, names):
    resolver, owner, client = names(), clients(), clients()
    share(owner, names=resolver.path)
    client.open(names=resolver.path, deadline=1000)
    assert client.get(0) == 0
    server, = children(owner)
    owner.kill()
    until(lambda: has_ended(server), SECONDS, "its server has ended with it")
    assert client.fails("get", 100 * PAGE)[0] == "bus"


def test_a_share_leaves_nothing_behind(clients, tmp_path):
    owner = clients(XDG_RUNTIME_DIR=str(tmp_path))
    share(owner)
    assert len(list(tmp_path.glob("*/nbd.sock"))) == 1 and len(children(owner)) == 1
    owner.ask("close")
    assert not list(tmp_path.iterdir())
    assert not children(owner)


def test_options_without_sense_are_refused(clients, tmp_path):
    client = clients()
    for options in ({"size": 0}, {"kind": 9}, {"flags": 8}, {"buffers": 1}, {"buffers": 17}, {"file": tmp_path},
                    {"socket": "relative"}, {"buffers": 2, "flags": 1}):
        assert client.fails("share", "orders", **{"size": SIZE, "names": "", **options})[0] == errno.EINVAL, options
    assert client.fails("share", "orders", size=SIZE, names="/nonexistent")[0] == errno.ENOENT


# ---- streams ----

def test_a_stream_brings_every_block_in_order(clients):
    owner, reader = clients(), clients()
    uri = share(owner, buffers=3)
    reader.open(uri=uri, buffers=2, kind=4)
    assert reader.number("size") == SIZE
    for block in range(10):
        owner.ask("fill", block)
        owner.ask("flip")
        reader.ask("flip")
        assert reader.number("verify", block) == 0
    assert reader.statistics()["blocks"] == 10 and reader.statistics()["faults"] == 0
    owner.ask("close")
    assert reader.fails("flip")[0] == errno.EPIPE
    assert reader.number("verify", 9) == 0    # what was shown last stays


def test_a_reader_never_waits_for_a_writer_that_is_ahead(clients):
    owner, reader = clients(), clients()
    uri = share(owner, buffers=8, size=PAGE + 8)
    for block in range(7):
        owner.ask("fill", block)
        owner.ask("flip")
    reader.open(uri=uri, buffers=8, kind=4)
    until(lambda: reader.statistics()["fetched"] == 7 * (PAGE + 8), SECONDS, "all have come")
    for block in range(7):
        reader.ask("flip")
        assert reader.number("verify", block) == 0
    assert reader.statistics()["stalls"] == 0


def test_a_slow_side_holds_the_other_back_up_to_its_deadline(clients):
    owner, reader = clients(), clients()
    uri = share(owner, buffers=2, size=PAGE, deadline=3000)
    owner.ask("put", 0, 1)
    owner.ask("flip")
    owner.ask("put", 0, 2)
    assert owner.fails("flip")[0] == errno.ETIMEDOUT    # nobody reads
    reader.open(uri=uri, buffers=2, deadline=3000)
    for block in (1, 2):
        reader.ask("flip")
        assert reader.get(0) == block
    assert reader.fails("flip")[0] == errno.ETIMEDOUT
    assert reader.get(0) == 2
    owner.ask("flip")
    owner.ask("put", 0, 3)
    owner.ask("flip")
    reader.ask("flip")
    assert reader.get(0) == 3


def test_a_stream_has_one_reader_and_goes_on_with_the_next(clients):
    owner, one, other = clients(), clients(), clients()
    uri = share(owner, buffers=2, size=PAGE)
    one.open(uri=uri, buffers=2)
    assert isinstance(other.fails("open", "orders", uri=uri, buffers=2)[0], int)
    owner.ask("put", 0, 1)
    owner.ask("flip")
    one.ask("flip")
    one.ask("close")
    other.open_when_free(uri=uri, buffers=3)
    owner.ask("put", 0, 2)
    owner.ask("flip")
    other.ask("flip")
    assert other.get(0) in (1, 2)    # a block whose successor was not asked for comes again
    assert other.fails("open", "orders", uri=share(clients(), name="plain"), buffers=2)[0] == errno.EINVAL


# ---- between machines ----

@pytest.fixture
def network():
    """Two network namespaces with a link between them: what runs a program in each."""
    if subprocess.run(["unshare", "--net", "test", "-w", "/dev/net/tun"], capture_output=True, check=False).returncode:
        pytest.skip("network namespaces or tunnels cannot be made here: needs root and /dev/net/tun")
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    machines = [subprocess.Popen(["unshare", "--net", sys.executable, os.path.join(TESTS, "namespace.py"),
                                  f"192.0.2.{number}", str(end.fileno())], stdout=subprocess.PIPE, text=True,
                                 pass_fds=[end.fileno()]) for number, end in enumerate(ends, 1)]
    try:
        for machine in machines:
            assert machine.stdout.readline() == "ready\n"
        yield [["nsenter", "--net", f"--target={machine.pid}"] for machine in machines]
    finally:
        for machine, end in zip(machines, ends):
            machine.kill()
            machine.wait()
            machine.stdout.close()
            end.close()


@pytest.mark.parametrize("kind", [1, 2, 3, 4])
def test_machines_share_a_region_over_tcp(clients, network, kind):
    owner, client = clients(*network[0]), clients(*network[1])
    uri = share(owner, kind=kind, flags=1, port=10809, host="192.0.2.1")
    owner.ask("fill", 11)
    client.open(uri=uri, kind=kind, flags=WRITE)
    assert client.number("verify", 11) == 0
    client.ask("fill", 12)
    client.ask("flush")
    assert owner.number("verify", 12) == 0


WAYS = [("list", 0), ("name", 0), ("list", LAZY), ("name", LAZY)]    # a URI is above


@pytest.mark.parametrize("kind,way,flags", [(kind, *way) for kind in (1, 2, 3, 4) for way in WAYS
                                            if kind < 3 or way[1] != LAZY])
def test_machines_start_to_share_in_each_way(clients, network, names, kind, way, flags):
    """By configuration or by name, at set-up or at the first access."""
    resolver, owner = names(), clients(*network[0])
    uri = share(owner, kind=kind, flags=1, names=resolver.path, port=10809, host="192.0.2.1")
    owner.ask("fill", 13)
    if way == "list":
        fd = region_list({"name": "orders", "size": SIZE, "kind": kind, "uri": uri, "write": True})
        client = clients(*network[1], fds=[fd], FAILOVER_REGIONS_FD=str(fd))
        client.open(flags=WRITE | flags)
    else:
        client = clients(*network[1])
        client.open(kind=kind, names=resolver.path, flags=WRITE | flags, size=SIZE)
    assert bool(client.statistics()["channels"]) == (flags == 0)
    assert client.number("verify", 13) == 0 and client.statistics()["channels"] > 0
    client.ask("fill", 14)
    client.ask("flush")
    assert owner.number("verify", 14) == 0


def test_machines_share_a_stream(clients, network):
    owner, reader = clients(*network[0]), clients(*network[1])
    reader.open(uri=share(owner, buffers=3, port=10809, host="192.0.2.1"), buffers=2, kind=4)
    for block in range(4):
        owner.ask("fill", block)
        owner.ask("flip")
        reader.ask("flip")
        assert reader.number("verify", block) == 0


def test_clients_on_machines_see_whole_words_while_the_owner_stores(clients, network):
    owner, readers = clients(*network[0]), [clients(*network[1]) for _ in range(4)]
    uri = share(owner, size=64 * PAGE, port=10809, host="192.0.2.1")
    for reader, kind in zip(readers, (1, 2, 3, 4)):
        reader.open(uri=uri, kind=kind)
    owner.ask("store-forever")
    until(lambda: owner.get(0) > 0, SECONDS, "the owner stores")
    for _ in range(5):
        for reader in readers:
            reader.ask("refresh")
            assert reader.number("torn") == 0 and reader.get(0) > 0


def test_a_link_that_was_down_is_waited_for(clients, network):
    owner, client = clients(*network[0]), clients(*network[1])
    client.open(uri=share(owner, port=10809, host="192.0.2.1"), deadline=60000)
    owner.ask("put", 100 * PAGE, 9)
    subprocess.run([*network[0], "ip", "link", "set", "wire", "down"], check=True)
    client.send("get", 100 * PAGE)
    subprocess.run([*network[0], "ip", "link", "set", "wire", "up"], check=True)
    assert int(client.hear()) == 9


def test_only_who_has_a_key_gets_in_over_tls(clients, tmp_path):
    keys, wrong = tmp_path / "keys", tmp_path / "wrong"
    for path in (keys, wrong):
        subprocess.run(["psktool", "-u", "alice", "-p", path], check=True, capture_output=True)
    owner, client = clients(), clients()
    uri = share(owner, port=19876, psk_file=keys)
    assert uri.startswith("nbds:")
    owner.ask("put", 0, 5)
    assert isinstance(client.fails("open", "orders", uri=uri, psk_file=wrong)[0], int)
    assert isinstance(client.fails("open", "orders", uri=uri.replace("nbds:", "nbd:"))[0], int)
    assert client.fails("open", "orders", uri=uri.replace("nbds:", "nbd:"), psk_file=keys)[0] == errno.EPERM
    client.open(uri=uri, psk_file=keys)
    assert client.get(0) == 5


# ---- as others build with it ----

@pytest.mark.parametrize("compiler", [["cc", "-std=c11", "-x", "c"], ["c++", "-std=c++11", "-x", "c++"]])
def test_the_header_is_c11_and_cpp(compiler, tmp_path):
    program = tmp_path / "program"
    program.write_text("#include <failover-region.h>\n"
                       "struct failover_region_options region_options = FAILOVER_REGION_OPTIONS_INIT;\n"
                       "struct failover_share_options share_options = FAILOVER_SHARE_OPTIONS_INIT;\n")
    subprocess.run([*compiler, "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only",
                    f"-I{SOURCE}/agents/region", str(program)], check=True)


def test_symbols_are_those_of_the_header_and_have_versions():
    library = os.path.join(BUILD, "agents/region/libfailover-region.so")
    said = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
    symbols = {line.split()[2] for line in said.splitlines() if " T " in line}
    with open(f"{SOURCE}/agents/region/failover-region.h") as f:
        header = f.read()
    assert symbols and all(name.endswith("@@LIBFAILOVER_REGION_0") for name in symbols)
    declared = {name for name in header.replace("(", " ").replace("*", " ").split()
                if name.startswith(("failover_region_", "failover_share_"))}
    assert {name.split("@")[0] for name in symbols} <= declared


def test_the_example_goes_on_from_the_last_number(nbdkit):
    server = nbdkit("memory", "1M")
    for begin in (1, 11):
        done = subprocess.run([os.path.join(BUILD, "agents/region/example-region"), "orders", server.uri], check=True,
                              capture_output=True, text=True, timeout=60)
        assert done.stdout.split() == [str(number) for number in range(begin, begin + 10)]
    with open(f"{SOURCE}/agents/region/example-region.c") as f:
        assert len(f.readlines()) < 60
