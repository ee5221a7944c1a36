"""Lambda's Runtime API, and a function behind it: the real client in a process that can be killed.

The client asks for the next invocation, and posts what came of it. Knows no queue and no flow.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

ARN = "arn:aws:lambda:us-east-1:123456789012:function:flows"


class FunctionDied(Exception):
    """The process of the function ended before it answered."""


class FunctionFailed(Exception):
    """The function raised; its text is the client's report."""


class Invocation(NamedTuple):
    request_id: str
    event: Mapping[str, Any]
    deadline: float


class Answer(NamedTuple):
    what: str
    value: Any


class Api(ThreadingHTTPServer):
    """The four endpoints that the client speaks to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Endpoint)
        self.next: queue.SimpleQueue[Invocation] = queue.SimpleQueue()
        self.answers: dict[str, queue.SimpleQueue[Answer]] = {}
        self.address = f"127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed breaks its connection off: that is no news."""


class Endpoint(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65536
    server: Api

    def do_GET(self) -> None:
        assert self.path.endswith("/runtime/invocation/next")
        if (invocation := self.next_invocation()) is None:
            return
        self.answer(
            json.dumps(invocation.event).encode(),
            {
                "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
                "Lambda-Runtime-Deadline-Ms": str(int(invocation.deadline * 1000)),
                "Lambda-Runtime-Invoked-Function-Arn": ARN,
                "Lambda-Runtime-Trace-Id": "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0",
                "Content-Type": "application/json",
            },
        )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        *_, request_id, what = self.path.split("/")
        answers = self.server.answers
        waiting = list(answers.values()) if request_id == "init" else [answers[request_id]]
        for each in waiting:
            each.put(Answer(what, json.loads(body)))
        self.answer(b"{}", {}, 202)

    def next_invocation(self) -> Invocation | None:
        """Wait for one; None if the client is gone: it must not swallow an invocation."""
        while not self.gone():
            with suppress(queue.Empty):
                return self.server.next.get(timeout=0.1)
        return None

    def gone(self) -> bool:
        try:
            self.connection.settimeout(0.0)
            return not self.connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        finally:
            self.connection.settimeout(None)

    def answer(self, body: bytes, headers: Mapping[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Function:
    """A function whose process is started when it is needed, and can be killed at any time.

    Args:
        directory: Where its code is.
        handler: ``module.name``.
        environment: Variables beside those of this process.
        timeout: Seconds of one invocation.
    """

    def __init__(
        self, directory: Path, handler: str, environment: Mapping[str, str], timeout: float = 30.0
    ) -> None:
        self.timeout = timeout
        self.log = b""
        self.started = 0
        self._api = Api()
        self._directory = directory
        self._handler = handler
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._serving = threading.Thread(target=self._api.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._serving.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        self._api.shutdown()
        self._api.server_close()

    def invoke(self, event: Mapping[str, Any]) -> Any:
        """Call the function, and return what it returned.

        Raises:
            FunctionDied: Its process ended.
            FunctionFailed: It raised.
        """
        process = self._running()
        invocation = Invocation(str(uuid.uuid4()), event, time.time() + self.timeout)
        answers = self._api.answers[invocation.request_id] = queue.SimpleQueue()
        self._api.next.put(invocation)
        end = time.monotonic() + self.timeout + 5
        while True:
            try:
                what, value = answers.get(timeout=0.05)
            except queue.Empty:
                assert time.monotonic() < end, "Lambda would have killed the function by now"
                if process.poll() is not None:
                    raise FunctionDied(str(process.returncode)) from None
                continue
            if what != "response":
                raise FunctionFailed(json.dumps(value))
            return value

    def kill(self) -> None:
        """End the process as a machine does that is switched off."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGKILL)
            said, _ = process.communicate()
            self.log += said

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.kill()
            self.started += 1
            self._process = subprocess.Popen(
                [sys.executable, "-m", "awslambdaric", self._handler],
                cwd=self._directory,
                env={
                    **os.environ,
                    **self._environment,
                    "AWS_LAMBDA_RUNTIME_API": self._api.address,
                    "AWS_LAMBDA_FUNCTION_NAME": "flows",
                    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
                    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        return self._process
