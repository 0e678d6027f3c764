# SPDX-License-Identifier: LGPL-2.1-or-later
"""The host's end of an agent channel, for measuring without failoverd (failover-agent-protocol(7))."""
import json
import secrets
import socket
import time


class AgentChannel:
    """Only one may be connected to a channel: failoverd must not run."""

    def __init__(self, path, seconds=30):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(seconds)
        self._socket.connect(path)
        self._reader = self._socket.makefile("r")
        self._session = secrets.token_hex(16)
        self._seq = 0
        self.ask("hello", type="welcome", version=1)

    def send(self, **message):
        self._seq += 1
        line = json.dumps({**message, "session": self._session, "seq": self._seq})
        self._socket.sendall(line.encode() + b"\n")

    def ask(self, answer, **message):
        """Sends a message and returns the answer, of that type, and the seconds that it took. A result answers by
        its id."""
        began = time.monotonic()
        self.send(**message)
        for line in self._reader:
            got = json.loads(line)
            if got["type"] == answer and got.get("session") == self._session and got.get("id") == message.get("id"):
                return got, time.monotonic() - began
        raise EOFError("the agent's channel has ended")

    def close(self):
        self._reader.close()
        self._socket.close()
