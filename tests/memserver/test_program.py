# SPDX-License-Identifier: LGPL-2.1-or-later
"""failover-memserver: from its configuration to a server that serves."""
import os
import signal
import socket
import subprocess

import nbd
import pytest
from server import MIB, PLUGIN, PROGRAM, SECONDS, Control, name, page, run
from testbed.wait import until


class Program:
    def __init__(self, directory, config, sockets=()):
        self.dir = str(directory)
        self.control_path = f"{self.dir}/control"
        with open(f"{self.dir}/config.yaml", "w") as f:
            f.write(config + f"control: {{socket: {self.control_path}}}\nlock: no\n")
        self.command = [PROGRAM, f"--config={self.dir}/config.yaml", f"--plugin={PLUGIN}"]
        if sockets:    # as systemd hands them over
            fds = [s.fileno() for s in sockets]
            code = ("import os, sys\n"
                    "fds = [int(fd) for fd in sys.argv[1].split(',')]\n"
                    "high = [os.dup2(fd, 100 + i) for i, fd in enumerate(fds)]\n"
                    "for i, fd in enumerate(high): os.dup2(fd, 3 + i, inheritable=True)\n"
                    "os.environ.update(LISTEN_FDS=str(len(fds)), LISTEN_PID=str(os.getpid()))\n"
                    "os.execv(sys.argv[2], sys.argv[2:])\n")
            self.command = ["/usr/bin/python3", "-c", code, ",".join(map(str, fds))] + self.command
            self.fds = fds
        else:
            self.fds = ()
        self.process = None

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stderr=subprocess.PIPE, text=True, pass_fds=self.fds)
        until(lambda: os.path.exists(self.control_path) or self.process.poll() is not None, SECONDS,
              "it serves or ends")
        assert self.process.poll() is None, self.process.stderr.read()
        self.control = Control(self.control_path)
        return self

    def open(self, **arguments):
        return self.control.ask("open", size_bytes=16 * MIB, token=1, **{**name(), **arguments})[0]

    def __exit__(self, *_):
        self.control.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(SECONDS)


def writes_and_reads(uri, **options):
    handle = nbd.NBD()
    for option, value in options.items():
        getattr(handle, option)(value)
    handle.connect_uri(uri)
    handle.pwrite(page(1), 0)
    assert handle.pread(4096, 0) == page(1)
    handle.shutdown()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_it_listens_on_all_sockets_of_the_configuration_and_on_systemds(tmp_path):
    port = free_port()
    with socket.socket(socket.AF_UNIX) as given, socket.socket(socket.AF_UNIX) as second:
        for number, one in enumerate((given, second)):
            one.bind(f"{tmp_path}/given{number}")
            one.listen()
        config = f"memory: 32MiB\nlisten: [\"unix:{tmp_path}/own\", \"tcp:127.0.0.1:{port}\"]\nunencrypted: yes\n"
        with Program(tmp_path, config, (given, second)) as program:
            capability = program.open()
            for path in ("given0", "given1", "own"):
                writes_and_reads(f"nbd+unix:///{capability}?socket={tmp_path}/{path}")
            writes_and_reads(f"nbd://127.0.0.1:{port}/{capability}")


def test_a_client_from_the_network_needs_tls_and_its_key(tmp_path):
    port = free_port()
    for keys in ("keys", "others"):
        run("psktool", "-u", "node1", "-p", str(tmp_path / keys))
    config = (f"memory: 32MiB\nlisten: [\"unix:{tmp_path}/own\", \"tcp:127.0.0.1:{port}\"]\n"
              f"tls: {{psk: {tmp_path}/keys}}\n")
    with Program(tmp_path, config) as program:
        capability = program.open()
        uri = f"127.0.0.1:{port}/{capability}"
        writes_and_reads(f"nbds://node1@{uri}", set_tls_psk_file=str(tmp_path / "keys"))
        writes_and_reads(f"nbd+unix:///{capability}?socket={tmp_path}/own")
        with pytest.raises(nbd.Error):
            writes_and_reads(f"nbd://{uri}")
        with pytest.raises(nbd.Error):
            writes_and_reads(f"nbds://node1@{uri}", set_tls_psk_file=str(tmp_path / "others"))
        with pytest.raises(nbd.Error):
            writes_and_reads(f"nbds://node1@127.0.0.1:{port}/{'0' * 64}", set_tls_psk_file=str(tmp_path / "keys"))


MISTAKES = {
    "memory: 1MiB\nlisten: [\"unix:/x\"]\n": "memory: 1MiB is out of range",
    "listen: [\"unix:/x\"]\n": "memory: is missing",
    "memory: 32MiB\nlisten: [\"tcp:127.0.0.1:10809\"]\n": "there is no tls",
    "memory: 32MiB\nlisten: [\"tcp:localhost:x\"]\n": "not an address to listen on",
    "memory: 32MiB\nlisten: [\"unix:relative\"]\n": "not an address to listen on",
    "memory: 32MiB\nlisten: [\"unix:/x\"]\ntls: {}\n": "tls: is empty",
    "memory: 32MiB\nlisten: [\"unix:/x\"]\ntls: {psk: /a, certificates: /b}\n": "keep one of them",
    "memory: 32MiB\nlisten: [\"unix:/x\"]\nspil: {}\n": "did you mean \"spill\"",
    "memory: 32MiB\nlisten: [\"unix:/x\"]\nspill: {file: /x}\n": "spill.size: is missing",
    "memory: 32MiB\nmemory: 32MiB\n": "memory",
    "memory: 32MiB\ndiscovery: {listen: \"0.0.0.0:1\"}\n": "key",
}


@pytest.mark.parametrize("text,said", MISTAKES.items())
def test_a_mistake_in_the_configuration_is_named_with_its_place(tmp_path, text, said):
    (tmp_path / "config.yaml").write_text(text)
    for check in (["--check"], []):
        done = subprocess.run([PROGRAM, f"--config={tmp_path}/config.yaml", *check], capture_output=True, text=True,
                              timeout=SECONDS)
        assert done.returncode == 1 and said in done.stderr and "config.yaml:" in done.stderr


def test_a_configuration_that_is_good_is_said_to_be(tmp_path):
    (tmp_path / "config.yaml").write_text("memory: 32MiB\nlisten: [\"unix:/x\", \"tcp:[::1]:7\", \"vsock:7\"]\n"
                                          "tls: {certificates: /etc/pki}\nspill: {file: /var/spill, size: 1GiB}\n"
                                          "control: {users: [failoverd]}\nclient-quota: 8MiB\nthreads: 4\n"
                                          "discovery: {listen: \"0.0.0.0:10810\", arbitrator: \"[::1]:10811\", "
                                          "key: /etc/key, silent: yes}\n")
    done = subprocess.run([PROGRAM, f"--config={tmp_path}/config.yaml", "--check"], capture_output=True, text=True,
                          timeout=SECONDS)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("parameters,said", [
    (("memory=1TiB",), "the host has"),
    (("memory=1MiB",), "below 16MiB"),
    (("memory=lots",), "not a size"),
    (("memory=32MiB", "spill=/x"), "go together"),
    (("memory=32MiB", "spill=nowhere/x", "spill-size=1MiB"), "No such file"),
    (("memory=32MiB", "control-user=nobody-of-that-name"), "no such user"),
    (("memory=32MiB", "colour=red"), "unknown parameter"),
    (("memory=32MiB", "discovery=0.0.0.0:10810"), "discovery-key= is missing"),
    (("memory=32MiB", "discovery=everywhere", "discovery-key=/dev/null"), "not a file"),
])
def test_parameters_that_cannot_be_are_refused_before_serving(tmp_path, parameters, said):
    done = subprocess.run(["nbdkit", "--foreground", "--unix", "nbd", PLUGIN, "control=control", "lock=no",
                           *parameters],
                          capture_output=True, text=True, timeout=SECONDS, cwd=tmp_path)
    assert done.returncode == 1 and said in done.stderr


def test_a_spill_file_is_never_put_over_another_file(tmp_path):
    (tmp_path / "precious").write_text("mine")
    done = subprocess.run(["nbdkit", "--foreground", "--unix", "nbd", PLUGIN, "control=control", "lock=no",
                           "memory=32MiB", "spill=precious", "spill-size=1MiB"],
                          capture_output=True, text=True, timeout=SECONDS, cwd=tmp_path)
    assert done.returncode == 1 and "not touched" in done.stderr
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_second_server_does_not_take_the_first_ones_control_socket(server):
    done = subprocess.run(["nbdkit", "--foreground", "--unix", "other", PLUGIN, f"control={server.control_path}",
                           "lock=no", "memory=32MiB"], capture_output=True, text=True, timeout=SECONDS, cwd=server.dir)
    assert done.returncode == 1 and "somebody listens there" in done.stderr
    assert server.load()
