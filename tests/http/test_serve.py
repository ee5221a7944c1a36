"""``sequential serve`` as a process: what it refuses, what it serves, and that it may be killed."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from sequential import Registry, Sequential, Steps, flow
from sequential.errors import ConfigError
from sequential.hookspecs import ResumeMessage
from sequential.storage import Status
from sequential_http.serve import http_key_command, read_table, serve_command
from sequential_http.signing import Keys
from sequential_http.target import read_target
from sequential_http.transport import HttpTransport
from tests.fix_http import KEY, PATIENCE, TOKEN, until
from tests.http.process import Start

FLOWS = """
import os, pathlib, time
from sequential import Steps, flow, tool

@tool("marks", "make")
def make(number: int) -> int:
    pathlib.Path("marks").open("a").write(f"{number} {os.getpid()}\\n")
    gate = pathlib.Path(f"gate{number}")
    while not gate.exists():
        time.sleep(0.01)
    return number

@flow
def marked(steps: int) -> Steps[int]:
    total = 0
    for number in range(steps):
        total += yield from make(number)
    return total

@flow
def hidden() -> Steps[None]:
    yield from make(0)
"""

AUTH = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture(autouse=True)
def marks_py(tmp_path: Path) -> None:
    """Put the flows beside the server."""
    (tmp_path / "marks.py").write_text(FLOWS)


def open_gates(directory: Path, *numbers: int) -> None:
    for number in numbers:
        (directory / f"gate{number}").touch()


def marks(directory: Path) -> list[str]:
    path = directory / "marks"
    return path.read_text().splitlines() if path.exists() else []


LOAD = ("--load", "marks.py", "--flow", "marked")


def test_a_killed_server_loses_nothing_and_another_carries_on(tmp_path: Path, start: Start) -> None:
    first = start(*LOAD)
    body = {"flow": "marked", "input": {"steps": 3}, "run_id": "r1"}
    answer = httpx.post(f"{first.url}/runs", json=body, headers=AUTH, trust_env=False)
    assert (answer.status_code, answer.json()) == (201, {"run_id": "r1"})
    open_gates(tmp_path, 0)
    until(lambda: len(marks(tmp_path)) == 2)  # the second step is under way
    assert first.end(signal.SIGKILL) == -signal.SIGKILL
    second = start(*LOAD)
    open_gates(tmp_path, 1, 2)
    answer = httpx.get(
        f"{second.url}/runs/r1/wait?timeout=30", headers=AUTH, trust_env=False, timeout=40
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["result"] == 3
    numbers = [line.split()[0] for line in marks(tmp_path)]
    # Only the step that was under way was done again.
    assert numbers == ["0", "1", "1", "2"]
    assert second.end() == 0


def marked(steps: int) -> Steps[None]:
    yield from ()


def test_a_resume_message_from_another_process_is_worked_on(tmp_path: Path, start: Start) -> None:
    serving = start(*LOAD, "--transport", "https://flows.example")
    open_gates(tmp_path, 0, 1)
    database = f"sqlite:///{tmp_path}/flows.db?synchronous=normal"
    # Started where nobody sends, so that the message alone moves it.
    flows = Registry()
    flow(name="marked", registry=flows)(marked)
    with Sequential(database, plugins=[], registry=flows) as app:
        app.start("marked", {"steps": 2}, run_id="r1")
        target = read_target(f"{serving.url}?audience=https://flows.example")
        sender = HttpTransport(target, Keys.parse(KEY), app.clock)
        sender.send([ResumeMessage("r1")])
        sender.close()
        until(lambda: app.get("r1").status is Status.COMPLETED)
    assert serving.end() == 0


def test_on_sigterm_the_step_under_way_ends_and_the_run_pauses(
    tmp_path: Path, start: Start
) -> None:
    serving = start(*LOAD)
    body = {"flow": "marked", "input": {"steps": 3}, "run_id": "r1"}
    httpx.post(f"{serving.url}/runs", json=body, headers=AUTH, trust_env=False)
    until(lambda: len(marks(tmp_path)) == 1)
    host, _, port = serving.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), PATIENCE) as waiting:
        lines = [
            "GET /runs/r1/wait?timeout=60 HTTP/1.1",
            f"host: {host}",
            f"authorization: Bearer {TOKEN}",
            "connection: close",
        ]
        waiting.sendall("\r\n".join([*lines, "", ""]).encode())
        # What was sent before this is read before it.
        assert httpx.get(f"{serving.url}/health", trust_env=False).status_code == 200
        threading.Timer(0.5, open_gates, (tmp_path, 0, 1, 2)).start()
        assert serving.end() == 0
        # Who waited has an answer, and not a connection that broke.
        assert waiting.recv(65_536).startswith(b"HTTP/1.1 202 ")
    with Sequential(f"sqlite:///{tmp_path}/flows.db", plugins=[]) as app:
        run = app.get("r1")
    assert (run.status, run.cursor) == (Status.PAUSED, 1)
    assert len(marks(tmp_path)) == 1


def test_only_listed_flows_may_be_started(start: Start) -> None:
    serving = start(*LOAD)
    assert not [line for line in serving.said if "closed" in line]
    for name in ("hidden", "marks.py:marked", "os:system", "nobody", ""):
        answer = httpx.post(
            f"{serving.url}/runs", json={"flow": name}, headers=AUTH, trust_env=False
        )
        assert (answer.status_code, answer.json()) == (404, {"error": "not_found"})
    assert serving.end() == 0


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        ((), {"SEQUENTIAL_HTTP_KEYS": None}, "SEQUENTIAL_HTTP_KEYS"),
        (("--host", "0.0.0.0"), {"SEQUENTIAL_HTTP_KEYS": None}, "SEQUENTIAL_HTTP_KEYS"),
        (("--host", "0.0.0.0", "--insecure-dev"), {"SEQUENTIAL_HTTP_KEYS": None}, "127.0.0.1"),
        (("--insecure-dev", "--host", "::"), {}, "127.0.0.1"),
        ((), {"SEQUENTIAL_HTTP_KEYS": "whsec_c2hvcnQ="}, "24 to 64"),
        ((), {"SEQUENTIAL_HTTP_TOKENS": "short"}, "SEQUENTIAL_HTTP_TOKENS"),
        (("--flow", "nobody"), {}, "registered"),
        (("--host", "256.0.0.1"), {}, "host, port"),
    ],
)  # fmt: skip
def test_what_would_not_be_safe_is_not_served(
    start: Start, arguments: tuple[str, ...], variables: dict[str, str | None], said: str
) -> None:
    serving = start(*arguments, **variables)
    assert serving.url == ""
    assert serving.end() == 1
    [line] = serving.said
    assert line.startswith("error:")
    assert said in line


def test_on_this_machine_alone_it_may_go_without_keys_and_tokens(
    tmp_path: Path, start: Start
) -> None:
    serving = start(*LOAD, "--insecure-dev", SEQUENTIAL_HTTP_KEYS=None, SEQUENTIAL_HTTP_TOKENS=None)
    open_gates(tmp_path, 0)
    body = {"flow": "marked", "input": {"steps": 1}, "run_id": "r1"}
    assert httpx.post(f"{serving.url}/runs", json=body, trust_env=False).status_code == 201
    answer = httpx.get(f"{serving.url}/runs/r1/wait", trust_env=False, timeout=40)
    assert answer.json()["status"] == "completed"
    strange = {"host": "evil.example"}
    answer = httpx.get(f"{serving.url}/runs/r1", headers=strange, trust_env=False)
    assert answer.status_code == 401
    assert serving.end() == 0


def test_without_tokens_it_says_that_clients_are_not_heard(start: Start) -> None:
    serving = start(*LOAD, SEQUENTIAL_HTTP_TOKENS=None)
    assert httpx.get(f"{serving.url}/runs", trust_env=False).status_code == 401
    assert serving.end() == 0
    assert any("SEQUENTIAL_HTTP_TOKENS" in line for line in serving.said)


def test_a_free_port_is_another_one_each_time(start: Start) -> None:
    first, second = start(*LOAD), start(*LOAD)
    assert first.url != second.url
    assert [first.end(), second.end()] == [0, 0]


def test_an_answer_does_not_wait_for_a_packet_to_fill(start: Start) -> None:
    serving = start(*LOAD)
    with httpx.Client(trust_env=False) as client:
        answers = [client.get(f"{serving.url}/health") for _ in range(20)]
    # Nagle's delay is 40 ms, from the second answer on; the best of so many has none.
    assert min(answer.elapsed.total_seconds() for answer in answers[5:]) < 0.03
    assert serving.end() == 0


# -- the table of the configuration file


def test_the_table_says_how_it_is_served() -> None:
    table = {"host": "::1", "port": 9000, "flows": ["a"], "mode": "request", "budget": 5}
    assert read_table(table) == table


@pytest.mark.parametrize(
    "table", [{"keys": "whsec_x"}, {"insecure_dev": True}, {"port": "80"}, {"port": True}, {"x": 1}]
)
def test_secrets_and_what_takes_safety_away_stand_in_no_file(table: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"http\."):
        read_table(table)


@pytest.mark.parametrize("missing", ["uvicorn", "starlette.applications", "anyio"])
def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    for name in [name for name in sys.modules if name.startswith("sequential_http.")]:
        if name.rpartition(".")[2] in {"running", "server", "wire"}:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigError, match=r"sequential-http\[server\]"):
        serve_command.main(["--storage", "memory:"], standalone_mode=False)


def test_importing_the_package_imports_no_http_library() -> None:
    code = (
        "import sys, sequential_http, sequential_http.plugin\n"
        "from sequential.cli import cli\n"
        "sequential_http.plugin.sequential_commands(cli)\n"
        "found = {'httpx', 'starlette', 'uvicorn', 'anyio', 'asyncio'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(found)) or 0)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_new_key_is_printed_and_can_be_used(capsys: pytest.CaptureFixture[str]) -> None:
    http_key_command.main([], standalone_mode=False)
    Keys.parse(capsys.readouterr().out)
