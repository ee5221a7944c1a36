"""Two things that a folder of files can be trusted with: a lock, and a write that is whole.

Knows files and no runs. For file systems of one machine: not for NFS or SMB.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


class Unconfirmed(OSError):
    """The write may or may not have happened, or may not outlive a power failure."""


@contextmanager
def locked(path: Path) -> Generator[int, None, None]:
    """Hold the lock *path*, alone among all threads and processes; give its descriptor."""
    # Opened anew each time: of two descriptors that were opened apart, one has to wait, even
    # within one process. The system lets go of the lock when the process dies.
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        # Not left to the close: a child that was forked meanwhile has the descriptor too.
        fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)


def is_locked(path: Path) -> bool:
    """Try whether anybody holds the lock *path*; there are file systems that let everybody."""
    lock = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def make_folder(path: Path) -> None:
    """Make the folder *path*, durably, if it is not there."""
    if not path.is_dir():
        path.mkdir(exist_ok=True)
        _sync(path.parent)


def write_whole(path: Path, data: bytes) -> None:
    """Make *data* the content of *path*: durable on return, never half. Needs the lock.

    Raises:
        Unconfirmed: It failed too late to be sure that nothing was written.
        OSError: Nothing was written.
    """
    draft = path.with_name(f"{path.name}.draft")
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    with _unconfirmed():
        draft.replace(path)
        _sync(path.parent)


def remove(path: Path) -> None:
    """Remove the file or folder *path* if it is there. Needs the lock.

    Raises:
        Unconfirmed: It may be there still, or in part.
    """
    with _unconfirmed():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        _sync(path.parent)


@contextmanager
def _unconfirmed() -> Generator[None, None, None]:
    try:
        yield
    except OSError as error:
        raise Unconfirmed(error.errno, error.strerror, error.filename) from error


def _sync(folder: Path) -> None:
    """Make the names in *folder* durable: a file's own sync does not."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
