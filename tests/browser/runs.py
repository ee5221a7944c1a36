"""The runs that the browser looks at: the demonstration's, a long one, one of hostile text.

`python -m tests.browser.runs FILE COUNT` makes them: in the tests' process Playwright has a loop.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from sequential import Registry, Sequential, Steps, flow, save, sleep, tool, tool_call
from sequential.outcomes import Paused
from sequential.storage import evolve
from sequential.testing import FakeClock
from sequential_dashboard.demo import make

LONG = "long-run"
HOSTILE = "hostile-run"
STEPS = 5_000

MARKUP = (
    "<script>window.harmed=1</script>",
    "<img src=x onerror=window.harmed=1>",
    "<svg onload=window.harmed=1>",
    '"><iframe srcdoc="<script>parent.harmed=1</script>">',
    "[click](javascript:window.harmed=1)",
    "![](//tracker.example/x.png)",
    "</style><style>*{display:none}</style>",
    "{{constructor.constructor('window.harmed=1')()}}",
    ":red[**bold**] $x^2$ `code` :material/home: :smile:",
)
"""Names and messages with markup of many kinds. Each harms `window` if it is taken for code."""


def prepare(path: Path, runs: int) -> None:
    """Fill the SQLite database at *path*; the demonstration brings *runs* runs."""
    # First: a storage never goes back behind the latest time that it has seen.
    clock = FakeClock(time.time() - 5 * 86_400.0)
    registry = Registry()
    _tools(registry, clock)
    _flows(registry)
    url = f"sqlite:///{path}?synchronous=normal"
    with Sequential(url, plugins=[], registry=registry, clock=clock) as app:
        app.start("import_all", {"rows": STEPS}, run_id=LONG)
        outcome = app.execute(LONG)
        while isinstance(outcome, Paused) and outcome.wake is not None:
            clock.advance(max(0.0, outcome.wake.time - clock.now()) + 0.3)
            outcome = app.execute(LONG)
        _hostile(app)
    make(path, runs=runs)


def _tools(registry: Registry, clock: FakeClock) -> None:
    @tool("table", "write", registry=registry)
    def write(row: int) -> int:
        clock.advance(0.02 + row % 17 / 100)
        return row

    @tool("table", "check", registry=registry)
    def check(row: int) -> int:
        clock.advance(1.5)
        raise ValueError("a row is missing")

    def harm() -> str:
        clock.advance(0.5)
        raise LookupError(MARKUP[0])

    for name in MARKUP:
        tool("hostile", name, registry=registry)(harm)


def _flows(registry: Registry) -> None:
    @flow(name="import_all", registry=registry)
    def import_all(rows: int) -> Steps[int]:
        for row in range(rows - 6):
            yield tool_call("table", "write", {"row": row})
        for again in range(2):
            yield sleep(36_000.0)
            yield {"__tool": ["table", "check", {"row": again}]}
            yield tool_call("table", "write", {"row": again})
        return rows

    @flow(name="hostile", registry=registry)
    def hostile(text: str) -> Steps[str]:
        for name in MARKUP:
            yield {"__tool": ["hostile", name]}
        yield save()
        raise LookupError("\n".join(MARKUP))


def _hostile(app: Sequential) -> None:
    """Add two runs in which every text is markup; the second also where our code checks it."""
    app.start("hostile", {"text": MARKUP[1]}, run_id=HOSTILE, tags={"team": MARKUP[1]})
    while isinstance(app.execute(HOSTILE), Paused):
        pass
    run = app.get(HOSTILE)
    app.storage.create(evolve(run, run_id=f"{HOSTILE}-2", flow=MARKUP[1], cursor=0))


if __name__ == "__main__":
    prepare(Path(sys.argv[1]), int(sys.argv[2]))
