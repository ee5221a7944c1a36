"""A hundred no-op steps of Absurd, spawned and carried out on one connection.

Imported by name and wrapped by hand: the type checker runs where Absurd is not installed.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import psycopg

from .peers import STEPS, serve


def main() -> None:
    """Serve."""
    url = sys.argv[1]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(import_module("absurdctl").BUNDLED_SCHEMA_SQL)
    app: Any = import_module("absurd_sdk").Absurd(url)
    app.create_queue("default")

    def steps(given: dict[str, int], context: Any) -> int:
        for n in range(given["count"]):
            context.step(f"noop-{n}", lambda n=n: {"n": n})
        return given["count"]

    app.register_task(name="steps")(steps)

    def carry() -> None:
        spawned = app.spawn("steps", {"count": STEPS})
        app.work_batch()
        done = app.fetch_task_result(spawned["task_id"])
        assert done.state == "completed", done

    serve(carry)
    app.close()


if __name__ == "__main__":
    main()
