# SPDX-License-Identifier: LGPL-2.1-or-later
"""A network of its own, an arbitrator in it, and datagrams as anybody could send them."""
import hashlib
import hmac
import os
import socket
import struct
import subprocess
import tempfile
import time

from server import BUILD, SECONDS, end
from testbed.wait import until

PROGRAM = os.path.join(BUILD, "daemon/failover-arbitrator")
PORT = 10810
ARBITRATOR = f"127.0.0.1:{PORT + 1}"
BROADCAST = f"127.255.255.255:{PORT}"
KEY = b"0123456789abcdef0123456789abcdef"


class Network:
    """A network namespace with its loopback device, on which broadcasts reach all who listen."""

    def __init__(self):
        kind = ["--net"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--net"]
        self.process = subprocess.Popen(["unshare", *kind, "sleep", "infinity"])
        pid = str(self.process.pid)
        until(lambda: self.is_there(), SECONDS, "a network namespace")
        self.prefix = ("nsenter", "--target", pid, "--net") if os.geteuid() == 0 else \
            ("nsenter", "--target", pid, "--user", "--preserve-credentials", "--net")
        subprocess.run([*self.prefix, "ip", "link", "set", "lo", "up"], check=True)
        self.dir = tempfile.mkdtemp(prefix="discovery-")
        self.key = os.path.join(self.dir, "key")
        with open(os.open(self.key, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as f:
            f.write(KEY)

    def is_there(self):
        assert self.process.poll() is None, "no network namespace"
        with open(f"/proc/{self.process.pid}/comm") as f:
            return f.read() == "sleep\n"

    def at_servers(self):
        """What servers are started with."""
        return (f"discovery=0.0.0.0:{PORT}", f"arbitrator={ARBITRATOR}", f"discovery-key={self.key}")

    def at_pager(self, decided):
        address = ARBITRATOR if decided == "arbitrator" else BROADCAST
        return (f"decided={decided}", f"discovery={address}", f"discovery-key={self.key}")

    def send(self, *datagrams, port=PORT, answers=0):
        """Sends datagrams from inside, and returns what is answered: waits for so many, and a little for more."""
        program = ("import socket, sys\n"
                   "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                   "for line in sys.stdin: s.sendto(bytes.fromhex(line), ('127.0.0.1', int(sys.argv[1])))\n"
                   "wanted, some = int(sys.argv[2]), 0\n"
                   "try:\n"
                   "    while True:\n"
                   "        s.settimeout(20 if some < wanted else 0.3)\n"
                   "        print(s.recv(2048).hex())\n"
                   "        some += 1\n"
                   "except TimeoutError: pass\n")
        done = subprocess.run([*self.prefix, "/usr/bin/python3", "-c", program, str(port), str(answers)],
                              input="".join(one.hex() + "\n" for one in datagrams), capture_output=True, text=True,
                              check=True, timeout=2 * SECONDS)
        return [bytes.fromhex(line) for line in done.stdout.split()]

    def close(self):
        self.process.kill()
        self.process.wait()
        os.unlink(self.key)
        for name in os.listdir(self.dir):
            os.unlink(os.path.join(self.dir, name))
        os.rmdir(self.dir)


class Arbitrator:
    def __init__(self, network):
        self.log_path = os.path.join(network.dir, "arbitrator.log")
        self.log_file = open(self.log_path, "ab")
        self.process = subprocess.Popen([*network.prefix, PROGRAM, f"--listen={ARBITRATOR}", f"--key={network.key}"],
                                        stdout=self.log_file, stderr=self.log_file)

    def log(self):
        with open(self.log_path) as f:
            return f.read()

    def close(self):
        end(self.process, [])
        self.log_file.close()


def seal(data, key=KEY):
    return data + hmac.new(key, data, hashlib.sha256).digest()


def ask(nonce, identities=(), at=None, key=KEY, version=2, to="127.0.0.1", port=PORT):
    """A client's question, as it goes over the network to that address and port."""
    names = b"".join(word.encode().ljust(64, b"\0") for word in ("n1", "vm1", "swap"))
    entries = b"".join(struct.pack(">QQQII", one, 0, 0, 0, 0) for one in identities)
    usec = int((time.time() if at is None else at) * 10**6)
    return seal(b"FOPG" + bytes((version, 1, len(identities), 0)) + struct.pack(">Q", usec) +
                nonce.to_bytes(16, "big") + bytes(10) + b"\xff\xff" + socket.inet_aton(to) +
                struct.pack(">H6x", port) + names + struct.pack(">QQ", 0, 0) + entries, key)


def entries(answer):
    """Identity, pages, free pages, age and whether it is willing, of each; and which was picked."""
    assert hmac.compare_digest(hmac.new(KEY, answer[:-32], hashlib.sha256).digest(), answer[-32:])
    return [struct.unpack(">QQQII", answer[at:at + 32]) for at in range(56, len(answer) - 32, 32)], answer[7]
