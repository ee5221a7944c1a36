"""Servers that tests start do not outlive the tests, however these end.

A shell waits at a pipe that only this process holds; when it closes, by a SIGKILL as well, the
shell does what it was told. Knows no server.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

_WAIT = "cat >/dev/null\n"


@contextmanager
def at_the_end(script: str, *arguments: str) -> Iterator[None]:
    """Run the *script* of a shell, with *arguments*, after the block or the end of this process.

    A child that is forked in the block and executes nothing holds the pipe as well, until it ends.
    """
    shell = subprocess.Popen(
        ["/bin/sh", "-c", _WAIT + script, "sh", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # Not in the group of the tests: who ends that group must not end the shell.
        start_new_session=True,
    )
    try:
        yield
    finally:
        shell.communicate()
