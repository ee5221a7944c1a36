"""The command line, ``sequential``.

`main` is the script's entry; the commands stand in modules by noun and are imported when they are
called. A package that adds commands (hook ``sequential_commands``) takes `with_session` and
`Session` from here: its command then knows ``--storage`` and the configuration like any other.
"""

from __future__ import annotations

from ._group import cli, main
from ._options import with_session
from ._session import Session

__all__ = ["Session", "cli", "main", "with_session"]
