"""The containers example: its services as processes, with the commands and variables of its file.

No container engine is needed: what an image adds is Python and three packages, and those are here.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml  # type: ignore[import-untyped]

from tests.fix_http import KEY, TOKEN, free_socket, until
from tests.fix_postgres import Server

EXAMPLE = Path(__file__).parents[2] / "docs/examples/containers"
COMPOSE: dict[str, Any] = yaml.safe_load((EXAMPLE / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = ("migrate", "web", "worker")


def test_every_variable_is_explained_at_the_top() -> None:
    text = (EXAMPLE / "compose.yaml").read_text("utf-8")
    head = text.partition("\nx-flows")[0]
    for name in set(re.findall(r"\$\{(\w+)\}", text)):
        assert f"#   {name}=" in head, name


def test_nothing_starts_before_what_it_needs() -> None:
    assert SERVICES["migrate"]["depends_on"] == {"db": {"condition": "service_healthy"}}
    for name in ("web", "worker"):
        needs = SERVICES[name]["depends_on"]
        assert needs == {"migrate": {"condition": "service_completed_successfully"}}
    assert SERVICES["db"]["healthcheck"]["test"]


def test_a_container_is_given_longer_than_a_worker_gives_its_tools() -> None:
    for name in OURS:
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > 30


def test_only_loopback_hears_of_it_and_nobody_is_root() -> None:
    assert SERVICES["web"]["ports"] == ["127.0.0.1:8000:8000"]
    assert "ports" not in SERVICES["db"]
    assert "\nUSER nobody\n" in (EXAMPLE / "Dockerfile").read_text("utf-8")


def test_the_image_has_the_files_and_packages_that_the_services_use() -> None:
    text = (EXAMPLE / "Dockerfile").read_text("utf-8")
    copied = re.findall(r"^COPY (.*) \./$", text, re.MULTILINE)[0].split()
    settings = tomllib.loads((EXAMPLE / "sequential.toml").read_text("utf-8"))
    assert {"sequential.toml", *settings["modules"]} <= set(copied)
    assert all((EXAMPLE / name).is_file() for name in copied)
    packages = 'sequential-core sequential-postgres "sequential-http[server]"'
    assert f"pip install --no-cache-dir {packages}\n" in text


class Fleet:
    """The services, as processes on this machine."""

    def __init__(self, folder: Path, database: str) -> None:
        self._folder = folder
        self._database = database
        self._started: list[subprocess.Popen[bytes]] = []
        with free_socket() as free:
            self.port = free.getsockname()[1]

    def start(self, service: str, *instead: str) -> subprocess.Popen[bytes]:
        """Start *service* with the variables of the file, and its command or another *instead*."""
        command = [*(instead or SERVICES[service]["command"])]
        if command == ["serve"]:
            command += ["--host", "127.0.0.1", "--port", str(self.port)]
        kept = {name: text for name, text in os.environ.items() if "SEQUENTIAL" not in name}
        process = subprocess.Popen(
            [sys.executable, "-m", "sequential", *command],
            cwd=self._folder,
            env={**kept, **self._variables(service), "SEQUENTIAL_LEASE": "3s"},
        )
        self._started.append(process)
        return process

    def end(self) -> None:
        """End what is still running."""
        for process in self._started:
            process.kill()
            process.wait()

    def _variables(self, service: str) -> dict[str, str]:
        given: dict[str, str] = SERVICES[service]["environment"]
        return {name: self._filled(text) for name, text in given.items()}

    def _filled(self, text: str) -> str:
        if text == "postgresql://flows:${DB_PASSWORD}@db/flows":
            return self._database
        return text.replace("${HTTP_KEYS}", KEY).replace("${HTTP_TOKENS}", TOKEN)


@pytest.fixture
def fleet(tmp_path: Path, postgres18: Server, empty_database: str) -> Iterator[Fleet]:
    for name in ("shop.py", "sequential.toml"):
        shutil.copy(EXAMPLE / name, tmp_path)
    made = Fleet(tmp_path, postgres18.url(empty_database))
    yield made
    made.end()


def test_orders_survive_the_end_of_every_container(fleet: Fleet) -> None:
    assert fleet.start("migrate").wait(60) == 0
    client = httpx.Client(
        base_url=f"http://127.0.0.1:{fleet.port}",
        headers={"authorization": f"Bearer {TOKEN}"},
        trust_env=False,
        timeout=30,
    )

    def healthy() -> bool:
        try:
            return client.get("/health").status_code == 200
        except httpx.TransportError:
            return False

    with client:
        web, worker = fleet.start("web"), fleet.start("worker")
        until(healthy)
        for number in range(10):
            order = {"flow": "order", "input": {"item": "fig", "cents": number}}
            started = client.post("/runs", json={**order, "run_id": f"order-{number}"})
            assert started.status_code == 201, started.text
        for process in (web, worker):
            process.send_signal(signal.SIGKILL)
            process.wait()
        web, worker = fleet.start("web"), fleet.start("worker")
        until(healthy)
        # What the killed had under way is due when their leases end. Workers sweep every 30 s; a
        # sweep at once is the same, sooner.
        while client.get("/runs", params={"status": ["paused", "running"]}).json()["runs"]:
            assert fleet.start("worker", "sweep").wait(60) == 0
        for number in range(10):
            ended = client.get(f"/runs/order-{number}/wait").json()
            assert ended["result"] == ["fig, reserved", f"{number} cents charged"]
        for process in (web, worker):
            process.terminate()
            assert process.wait(40) == 0
