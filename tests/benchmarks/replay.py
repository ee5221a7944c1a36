"""Replay in a fresh process: load and play the saved steps up to the first new one.

The floor reads the same rows with one SELECT and decodes each value. Imports, opening the
application and the first connection are done before the time is taken, for both.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Iterator
from time import perf_counter
from typing import Any

from sequential import Registry, Sequential, flow, tool, wait_for_signal
from sequential._player import Player
from sequential._steps import Steps

from .grounds import Ground, connect
from .measure import Row, Size, median

REGISTRY = Registry()


@tool("crm", "customer", registry=REGISTRY)
def customer(n: int) -> dict[str, Any]:
    """Return a value of the usual size."""
    return {"id": n, "name": "Ada Lovelace", "email": "ada@example.org", "tags": ["vip", "gb"]}


@flow(name="many", registry=REGISTRY)
def many(count: int) -> Steps[int]:
    """Make *count* steps, then wait."""
    for n in range(count):
        yield customer(n)
    yield wait_for_signal("go on")
    return count


def measure(ground: Ground, size: Size) -> Iterator[Row]:
    """Measure 1,000 and 10,000 steps."""
    for count in (1_000, 10_000):
        url = ground.url()
        with Sequential(url, pause="when-waiting", registry=REGISTRY) as app:
            run_id = app.start(many, {"count": count})
            app.execute(run_id)
        rows: list[float] = []
        plays: list[float] = []
        for _ in range(max(5, size.processes // 2)):
            rows.append(_in_fresh_process("rows", url, run_id))
            plays.append(_in_fresh_process("play", url, run_id))
        floor, play = median(rows), median(plays)
        what = f"replay of {count:,} steps, {ground.name} / SELECT+json.loads"
        yield Row(what, floor, play, play / floor, 3)


def _in_fresh_process(which: str, url: str, run_id: str) -> float:
    command = [sys.executable, "-m", __spec__.name, which, url, run_id]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def read_rows(url: str, run_id: str) -> float:
    """Return the seconds that one SELECT and decoding its values take."""
    bare = connect(url)
    bare.values("another")
    begun = perf_counter()
    values = [json.loads(value) for value in bare.values(run_id)]
    took = perf_counter() - begun
    assert values
    bare.close()
    return took


def play(url: str, run_id: str) -> float:
    """Return the seconds that loading the run and playing its flow take."""
    with Sequential(url, registry=REGISTRY) as app:
        app.storage.load("another")
        begun = perf_counter()
        loaded = app.storage.load(run_id)
        assert loaded is not None
        player = Player(app.engine, many, loaded.steps)
        app.driver.answer(player.play(loaded.run))
        took = perf_counter() - begun
        assert player.waiting[str(len(loaded.steps))].asked.tool == "go on"  # type: ignore[union-attr]
        player.discard()
    return took


if __name__ == "__main__":
    _which, _url, _run_id = sys.argv[1:]
    gc.collect()
    print({"rows": read_rows, "play": play}[_which](_url, _run_id))
