"""A hundred no-op tasks of LangGraph's functional API, on its saver for SQLite or Postgres.

Imported by name and wrapped by hand: the type checker runs where LangGraph is not installed.
"""

from __future__ import annotations

import sys
import uuid
from importlib import import_module
from typing import Any

from .peers import STEPS, serve


def main() -> None:
    """Serve."""
    func: Any = import_module("langgraph.func")

    def noop(n: int) -> dict[str, int]:
        return {"n": n}

    task = func.task(noop)

    def steps(count: int) -> int:
        for n in range(count):
            task(n).result()
        return count

    with _saver(sys.argv[1]) as opened:
        opened.setup()
        graph = func.entrypoint(checkpointer=opened)(steps)

        def carry() -> None:
            config = {"configurable": {"thread_id": str(uuid.uuid4())}}
            graph.invoke(STEPS, config, durability="sync")

        serve(carry)


def _saver(url: str) -> Any:
    if url.startswith("sqlite:"):
        saver: Any = import_module("langgraph.checkpoint.sqlite").SqliteSaver
        return saver.from_conn_string(url.removeprefix("sqlite:///"))
    saver = import_module("langgraph.checkpoint.postgres").PostgresSaver
    return saver.from_conn_string(url)


if __name__ == "__main__":
    main()
