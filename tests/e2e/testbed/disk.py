# SPDX-License-Identifier: LGPL-2.1-or-later
"""A small file system of its own in a directory, that can be full or stand still."""
import contextlib
import os
import subprocess


class Disk:
    """An ext4 on a loop device, mounted on a directory. Needs root. Everything is given back by close(), whatever has
    happened in between."""

    def __init__(self, image, directory, mib, owner):
        self.directory = directory
        self._frozen = False
        with open(image, "wb") as f:
            f.truncate(mib << 20)
        self._run("mkfs.ext4", "-q", "-F", "-m", "0", image)    # no blocks for root alone: full is full
        self._run("mount", "-o", "loop", image, directory)
        os.chown(directory, owner["user"], owner["group"])
        os.chmod(directory, 0o700)

    @staticmethod
    def _run(*command):
        subprocess.run(command, check=True, capture_output=True, timeout=30)

    def fill(self):
        """Takes every block that is left."""
        with open(os.path.join(self.directory, "filler"), "wb", buffering=0) as f:
            for size in (1 << 16, 1 << 12, 1):
                try:
                    while True:
                        f.write(bytes(size))
                except OSError:     # full for pieces of that size
                    pass

    def empty(self):
        os.remove(os.path.join(self.directory, "filler"))

    def freeze(self):
        """Whoever writes from here on waits, and cannot be killed meanwhile."""
        self._run("fsfreeze", "-f", self.directory)
        self._frozen = True

    def thaw(self):
        if self._frozen:
            self._run("fsfreeze", "-u", self.directory)
            self._frozen = False

    def close(self):
        self.thaw()
        self._run("umount", "--lazy", self.directory)


@contextlib.contextmanager
def disk_of(stand, name, mib):
    """stand.disk is such a file system on the directory `name` of its session, before failoverd is started."""
    session = stand.session
    stand.disk = Disk(session.path(f"{name}.img"), session.make_dir(name), mib, session.as_user)
    try:
        yield
    finally:
        stand.disk.thaw()   # what waits for it cannot be ended
        stand.failoverd.close()
        stand.disk.close()
