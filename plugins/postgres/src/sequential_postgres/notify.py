"""NotifyTransport: workers hear at once that a run wants to be looked at, through NOTIFY.

Every worker that listens hears every message, and one claim wins. Nothing is kept by the server: a
message that nobody heard, or that was lost with a connection, is one for the sweeper. Knows no
table, and takes no part in a commit.
"""

from __future__ import annotations

import logging
import queue
import re
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from sequential import Outcome
from sequential.errors import ConfigError, StorageError, TransportError
from sequential.hookspecs import ResumeMessage

from .connections import Connections
from .url import PostgresSettings

_log = logging.getLogger("sequential")

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_~.\-]{0,127}")
_NOTIFY = b"SELECT pg_notify(%s, run_id) FROM unnest(%s::text[]) AS run_id"
_ROOM = 10_000  # messages that wait for a thread; what has no room is left to the sweeper
_TRIES = 5
_LOOK = 0.5  # seconds between two looks whether to stop
_QUIET = 60  # looks without a word from the server until it is asked whether it is there
_LONGEST_PAUSE = 30.0


@dataclass(frozen=True, slots=True)
class _Message:
    run_id: str
    tries: int = 0


class NotifyTransport:
    """Sends with ``pg_notify`` and hears with LISTEN, on a channel of the schema's name.

    Args:
        settings: Where; *pool* is also how many messages are handled at a time.

    Raises:
        ConfigError: Behind a pooler that hands each statement another connection nobody can listen.
    """

    carries = True
    longest_delay = 0.0

    def __init__(self, settings: PostgresSettings) -> None:
        if not settings.prepare:
            remedy = "LISTEN needs a session: name the server itself here, not a pooler"
            raise ConfigError("transport option prepare", "off", remedy)
        self._channel = f"sequential_{settings.schema}"
        self._connections = Connections(settings)
        self._threads = settings.pool
        self._heard: queue.Queue[_Message] = queue.Queue(_ROOM)
        self._listening = False
        self._failures = 0

    def send(self, messages: Sequence[ResumeMessage]) -> None:
        """Tell every listener of the runs; one that must wait is left to the sweeper.

        Raises:
            TransportError: The server did not take them.
        """
        runs = [message.run_id for message in messages if message.delay <= 0]
        if not runs:
            return
        # Asked first: what is sent before this process listens is kept for when it does.
        kept = not self._listening
        try:
            self._connections.repeat(_NOTIFY, (self._channel, runs))
        except StorageError as error:
            raise TransportError(str(error), runs) from error
        if kept:
            for run_id in runs:
                self._keep(_Message(run_id))

    def listen(self, handle: Callable[[str], Outcome], stop: threading.Event) -> None:
        """Hand over what is heard, on several threads, until *stop* is set.

        A lost connection is made anew, after a pause that grows up to 30 s. A message whose handler
        raised is handed over again, up to five times in all.
        """
        if stop.is_set():
            return
        over = threading.Event()

        def work() -> None:
            while not (stop.is_set() or over.is_set()):
                self._hand_over(handle, stop)

        for number in range(self._threads):
            # Daemons: a tool that does not end must not keep the process alive.
            threading.Thread(target=work, daemon=True, name=f"sequential-notify-{number}").start()
        try:
            while not stop.is_set():
                self._hear_until(stop)
        finally:
            over.set()

    def close(self) -> None:
        """Give the connections back."""
        self._connections.close()

    def _hear_until(self, stop: threading.Event) -> None:
        """Hear until *stop* is set or the connection is lost; then pause."""
        try:
            self._hear(stop)
        except StorageError as error:
            if stop.is_set():
                return
            pause = min(_LOOK * 2.0 ** min(self._failures, 16), _LONGEST_PAUSE)
            self._failures += 1
            _log.warning("cannot listen, trying again in %.1f s: %s", pause, error)
            stop.wait(pause)
        finally:
            self._listening = False

    def _hear(self, stop: threading.Event) -> None:
        with self._connections.alone() as connection:
            connection.patience = _LONGEST_PAUSE
            connection.execute(f'LISTEN "{self._channel}"'.encode())
            self._listening, self._failures = True, 0
            quiet = 0
            while not stop.is_set():
                quiet += 1
                for note in connection.notifies(timeout=_LOOK):
                    quiet = 0
                    # Anybody who may connect may send anything.
                    if _RUN_ID.fullmatch(note.payload):
                        self._keep(_Message(note.payload))
                if quiet >= _QUIET:
                    # A server that is gone without a word says nothing either.
                    connection.execute(b"SELECT 1")
                    quiet = 0

    def _keep(self, message: _Message) -> None:
        with suppress(queue.Full):
            self._heard.put_nowait(message)

    def _hand_over(self, handle: Callable[[str], Outcome], stop: threading.Event) -> None:
        try:
            message = self._heard.get(timeout=_LOOK)
        except queue.Empty:
            return
        if stop.is_set():
            self._keep(message)
            return
        try:
            handle(message.run_id)
        except Exception as error:  # noqa: BLE001  (a handler may fail in any way)
            tries = message.tries + 1
            if tries >= _TRIES:
                _log.warning("run %s is left to the sweeper: %s", message.run_id, error)
                return
            stop.wait(_LOOK * 2.0**message.tries)
            self._keep(_Message(message.run_id, tries))
