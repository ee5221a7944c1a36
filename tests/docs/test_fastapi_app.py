"""The FastAPI example: a real process, killed in the middle of its orders, started again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from sequential import Sequential
from tests.fix_http import KEY, TOKEN, free_socket, until, url_of

EXAMPLE = Path(__file__).parents[2] / "docs/examples/fastapi_app/shop.py"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(EXAMPLE, tmp_path)
    return tmp_path


@contextmanager
def shop(folder: Path, **variables: str) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    """Serve the example from *folder*; give a client that talks to it, and the process."""
    with free_socket() as listening:
        kept = {name: text for name, text in os.environ.items() if "SEQUENTIAL" not in name}
        command = [sys.executable, "-m", "uvicorn", "shop:web", "--fd", str(listening.fileno())]
        process = subprocess.Popen(
            [*command, "--log-level", "warning"],
            cwd=folder,
            env={**kept, **variables},
            pass_fds=[listening.fileno()],
        )
        client = httpx.Client(base_url=url_of(listening), trust_env=False, timeout=30)
        try:
            with client:
                assert client.get("/flows/health").status_code == 200
                yield client, process
        finally:
            process.terminate()
            process.wait(30)


def test_an_order_is_carried_to_its_end(folder: Path) -> None:
    with shop(folder) as (client, process):
        ordered: dict[str, str | int] = {"item": "pear", "cents": 40}
        assert client.post("/orders/1", params=ordered).json() == {"run": "order-1"}
        assert client.post("/orders/1", params=ordered).status_code == 202
        assert client.post("/orders/1", params={**ordered, "cents": 41}).status_code == 409
        until(partial(is_completed, client, 1))
        assert client.get("/orders/1").json()["done"] == ["pear, reserved", "40 cents charged"]
        assert client.get("/orders/2").status_code == 404
        assert client.get("/flows/runs/order-1").json()["status"] == "completed"
    assert process.returncode in (0, -signal.SIGTERM)  # uvicorn ends by the signal it was sent


def test_orders_go_on_when_the_process_was_killed(folder: Path) -> None:
    with shop(folder) as (client, process):
        for number in range(20):
            client.post(f"/orders/{number}", params={"item": "fig", "cents": number})
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    with Sequential(f"sqlite:///{folder}/shop.db", plugins=[]) as app:
        assert any(run.ended is None for run in app.find().runs)
    with shop(folder) as (client, _):
        for number in range(20):
            until(partial(is_completed, client, number))
            done = client.get(f"/orders/{number}").json()["done"]
            assert done == ["fig, reserved", f"{number} cents charged"]


def is_completed(client: httpx.Client, number: int) -> bool:
    return bool(client.get(f"/orders/{number}").json()["status"] == "completed")


def test_with_keys_and_tokens_strangers_hear_nothing(folder: Path) -> None:
    variables = {"SEQUENTIAL_HTTP_KEYS": KEY, "SEQUENTIAL_HTTP_TOKENS": TOKEN}
    with shop(folder, **variables) as (client, _):
        assert client.get("/flows/runs").status_code == 401
        shown = client.get("/flows/runs", headers={"authorization": f"Bearer {TOKEN}"})
        assert shown.json() == {"runs": [], "next": None}
