"""A hundred no-op steps of DBOS, on a system database of its own.

Imported by name and wrapped by hand: the type checker runs where DBOS is not installed.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from .peers import STEPS, serve


def main() -> None:
    """Serve."""
    dbos: Any = import_module("dbos").DBOS
    dbos(
        config={
            "name": "bench",
            "system_database_url": sys.argv[1],
            "run_admin_server": False,
            "log_level": "ERROR",
        }
    )

    def noop(n: int) -> dict[str, int]:
        return {"n": n}

    step = dbos.step()(noop)

    def steps(count: int) -> int:
        for n in range(count):
            step(n)
        return count

    workflow = dbos.workflow()(steps)
    dbos.launch()
    serve(lambda: workflow(STEPS))
    dbos.destroy()


if __name__ == "__main__":
    main()
