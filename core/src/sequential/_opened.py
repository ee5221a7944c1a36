"""An opened application: its storage, transport and plugins, and what can be seen of its runs.

Puts the parts together, and looks. What is done to runs stands in `_tending` and `_app`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self, TypeVar, cast, get_args

from . import _builtin, _codec
from ._calling import RegisteredTools
from ._checking import Replayed, hold_against, replay
from ._clock import SYSTEM_CLOCK, Clock, seconds_of
from ._config import load, shown_url
from ._drive import Driver, token
from ._invoke import outcome_of
from ._model import OPEN_STATUSES, Run, Status, StepRecord
from ._observing import Observing, Telling
from ._outcomes import Outcome
from ._outside import Outside
from ._pause import PausePolicy
from ._payload import Payloads, PlainPayloads, progress_place, value_place
from ._plugins import Plugins
from ._progress import Progress, progress_of
from ._protocol import Terms
from ._querying import query_of
from ._ref import Ref
from ._registry import REGISTRY, Registry
from ._replay import Check
from ._requests import Engine
from ._run_id import check_run_id
from ._span_store import SpanStore
from ._storage import RECORD_ONLY, Page, Probe, Storage, ValuePlace
from ._targets import import_modules
from ._transport import ResumeTransport
from .errors import ConfigError, FlowNotFound, RunMissing, ValueCorrupt

T = TypeVar("T")


class Opened:
    """One application: a storage, a transport, plugins, and the flows and tools of this process."""

    def __init__(  # noqa: PLR0913  (the settings, each with a default)
        self,
        storage: str | Storage = "sqlite:///sequential.db",
        transport: str | ResumeTransport = "poll:",
        pause: str | PausePolicy = "budget",
        plugins: Sequence[object] | None = None,
        *,
        values: str | ValuePlace = "",
        registry: Registry = REGISTRY,
        check: Check = "inputs",
        payload: Sequence[str] = (),
        terms: Terms | None = None,
        warm: int = 256,
        telemetry: Telling = "off",
        spans: str = "",
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Open the storage and the transport, and register what plugins bring.

        Args:
            storage: A URL such as ``sqlite:///flows.db`` or ``memory:``, or a storage.
            transport: A URL such as ``poll:?every=0.5s``, or a transport.
            pause: ``every-step``, ``budget`` (also ``budget:30s,100steps``) or ``when-waiting``.
            plugins: Names of installed plugins to use, and plugin objects; None for all that are
                installed.
            values: The same for another place for large values; by default they are with the runs.
            registry: Where flows and tools are looked up.
            check: What a replay compares: ``inputs``, ``names`` or ``off``.
            payload: Payload codecs for what is stored from now on, in order.
            terms: The numbers of the protocol.
            warm: How many paused flows are kept in memory at most.
            telemetry: ``otlp`` sends spans where the ``OTEL_*`` variables say; ``stored`` keeps
                what records do not say, and log lines, in a span store; ``otlp+stored`` does both.
                For a tracer provider of your own, pass a `sequential.telemetry.Telemetry` as
                plugin instead of ``otlp``.
            spans: URL of the span store; by default it is with the runs.
            clock: For tests.

        Raises:
            ConfigError: A setting cannot be used.
            PluginError: No plugin opens a URL, or the one that does is broken.
            StorageError: The storage cannot be opened.
        """
        names = None if plugins is None else [name for name in plugins if isinstance(name, str)]
        objects = [plugin for plugin in plugins or () if not isinstance(plugin, str)]
        self._observing = Observing(telemetry, objects)
        policy = PausePolicy.parse(pause)
        if check not in get_args(Check):
            raise ConfigError("check", check, f"use one of {', '.join(get_args(Check))}")
        if warm < 0:
            raise ConfigError("warm", warm, "use 0 to keep none")
        self.registry = registry
        self.plugins = Plugins(
            [_builtin, RegisteredTools(registry), *self._observing.plugins], names
        )
        self.plugins.register(registry)
        payloads = Payloads(self.plugins.payload_codecs(), payload)
        self.clock = clock
        self.transport = (
            self.plugins.open_transport(transport, clock)
            if isinstance(transport, str)
            else transport
        )
        self.storage = self._open(storage, values)
        where = storage if isinstance(storage, str) else ""
        self._observing.begin(self.plugins, clock, spans, where)
        self.engine = Engine(
            registry,
            payloads,
            terms or Terms(),
            policy,
            check,
            self.storage.deployment,
            50_000,
            self.plugins.observed,
        )
        self.driver = Driver(self.engine, self.storage, self.transport, self.plugins, clock, warm)
        self._outside = Outside(self.engine, self.storage, clock, token)

    def _open(self, storage: str | Storage, values: str | ValuePlace) -> Storage:
        plugins, clock = self.plugins, self.clock
        runs = plugins.open_storage(storage, clock) if isinstance(storage, str) else storage
        # Named as another place, the runs' own storage would keep values under other names.
        if not values or values == storage:
            return runs
        try:
            return self._with_values(runs, values)
        except BaseException:
            if isinstance(storage, str):
                runs.close()
            raise

    def _with_values(self, runs: Storage, values: str | ValuePlace) -> Storage:
        # Few say where values go, and it brings more than the rest of a start.
        from ._values_elsewhere import ValuesElsewhere

        plugins, clock = self.plugins, self.clock
        place = plugins.open_storage(values, clock) if isinstance(values, str) else values
        if not callable(getattr(place, "drop_values", None)):
            shown = shown_url(values) if isinstance(values, str) else type(values).__name__
            remedy = "this storage cannot keep the values of runs elsewhere: it has no drop_values"
            raise ConfigError("values", shown, remedy)
        return ValuesElsewhere(runs, cast("ValuePlace", place))

    @classmethod
    def from_config(cls, directory: Path | None = None, **overrides: Any) -> Self:
        """Open the application that variables and the configuration file describe.

        The modules that it names are imported, so that their flows and tools are registered.

        Args:
            directory: Where ``sequential.toml`` or ``pyproject.toml`` stands; by default the
                current directory.
            overrides: Settings that count more than either, by name.

        Raises:
            ConfigError: A setting cannot be used.
            FlowUnreadable: A module cannot be imported.
            SequentialError: As for `Sequential`.
        """
        place = directory or Path.cwd()
        settings = load(overrides, os.environ, place)
        import_modules(settings.modules, place)
        return cls(**settings.arguments())

    def __enter__(self) -> Self:
        """Return the application itself; it is closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Discard the flows in memory, and give connections back."""
        self.driver.close()
        self.flush()
        self._observing.close()
        self.transport.close()
        self.storage.close()

    def flush(self, seconds: float = 2.0) -> bool:
        """Let the telemetry of the settings export and store what it has, for at most *seconds*.

        Call it before the process is frozen. Returns whether all was handed over; never raises.
        """
        return self._observing.flush(seconds)

    @property
    def span_store(self) -> SpanStore | None:
        """Where spans and log lines of runs are kept, by whichever process; None for nowhere."""
        return self._observing.store

    # -- looking -----------------------------------------------------------------------------

    def get(self, run_id: str) -> Run:
        """Return the record of the run.

        Raises:
            RunMissing: There is no such run.
        """
        loaded = self.storage.load(check_run_id(run_id), RECORD_ONLY)
        if loaded is None:
            raise RunMissing(run_id)
        return loaded.run

    def steps(self, run_id: str) -> Sequence[StepRecord]:
        """Return the recorded steps of the run's generation, in order."""
        loaded = self.storage.load(check_run_id(run_id))
        if loaded is None:
            raise RunMissing(run_id)
        return loaded.steps

    def find(  # noqa: PLR0913  (what may be asked for, each part by its name)
        self,
        *,
        flow: str | None = None,
        status: Status | str | Sequence[Status | str] = (),
        tags: Mapping[str, str] | None = None,
        since: datetime | None = None,
        before: datetime | None = None,
        search: str | None = None,
        wakes_before: datetime | None = None,
        parent: str | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> Page:
        """Return one page of runs, newest first; give its ``next`` as *after* for the one after.

        Args:
            flow: Only runs of this flow.
            status: Only of this status, or of one of these.
            tags: With all of these.
            since: Created then or later.
            before: Created earlier.
            search: What the id begins with.
            wakes_before: Their wake time is earlier: what should have gone on by then, and ended
                runs whose time to be purged has come. The earliest wake comes first.
            parent: Started by this run as its children.
            after: Where the page before ended.
            limit: At most this many, 1 to 1,000.
        """
        times = (since, before, wakes_before)
        query = query_of("find", flow, status, tags, times, search)
        return self.storage.find(replace(query, parent=parent, after=after, limit=limit))

    def count(  # noqa: PLR0913  (as `find`)
        self,
        *,
        flow: str | None = None,
        status: Status | str | Sequence[Status | str] = (),
        tags: Mapping[str, str] | None = None,
        since: datetime | None = None,
        before: datetime | None = None,
        search: str | None = None,
        wakes_before: datetime | None = None,
        parent: str | None = None,
    ) -> Mapping[tuple[str, Status], int]:
        """Return how many runs `find` would find on all its pages, by flow and status."""
        times = (since, before, wakes_before)
        query = query_of("count", flow, status, tags, times, search)
        return self.storage.count(replace(query, parent=parent))

    def outcome(self, run: Run) -> Outcome:
        """Return what *run* came to, its result decoded and read by the flow's annotation."""
        outcome: Outcome = self.driver.answer(outcome_of(self.engine, run))
        return outcome

    def value(self, run: Run, step: StepRecord) -> Any:
        """Return the decoded result of *step*; of a failed step, its error as an object."""
        return _codec.decode(self._outside.data_of(step.value, value_place(run, step.position)))

    def load(self, ref: Ref[T]) -> T:
        """Return the value that *ref*, from a result or a step of a run, stands for.

        Raises:
            RefGone: The run that stored it was purged.
            ValuesError: It cannot be opened here.
        """
        value: T = self.driver.load(ref)
        return value

    def progress(self, run: str | Run) -> Progress | None:
        """Return what the run, or the one of that id, has published with `set_progress`, if it has.

        Reads the record and no history.

        Raises:
            RunMissing: There is no such run.
            ValuesError: It cannot be opened here.
        """
        found = self.get(run) if isinstance(run, str) else run
        payload = found.progress
        if payload is None:
            return None
        data = self.engine.payloads.unwrap(payload, progress_place(found.run_id))
        return progress_of(_codec.decode(data))

    def follow(self, run_id: str, every: timedelta | float = 0.5) -> Iterator[Progress]:
        """Yield the progress of the run whenever it has changed, until the run has ended.

        Args:
            run_id: The run.
            every: Between two looks at its record, in seconds when a number.

        Raises:
            RunMissing: There is no such run.
        """
        seconds, last = seconds_of(every), None
        while True:
            run = self.get(run_id)
            found = self.progress(run)
            if found is not None and found != last:
                yield found
                last = found
            if run.status not in OPEN_STATUSES:
                return
            self.clock.wait(seconds)

    def probe(self) -> Probe:
        """Verify, by trying, that the storage keeps its contract."""
        return self.storage.probe()

    def replay(self, run_id: str) -> Replayed:
        """Hold today's code against the run's history; runs no tool and writes nothing.

        Raises:
            RunMissing: There is no such run.
            RunStatusWrong: It was purged.
            FlowNotFound: Its flow is not registered here.
        """
        return replay(self.engine, self.storage, run_id)

    def export(self, run_id: str) -> str:
        """Return the history of the run as the text of a file, with all its values in plain JSON.

        `replay_history` and `sequential.testing.verify_replay` hold code against such a file.

        Raises:
            RunMissing: There is no such run.
            RunStatusWrong: It was purged.
            StorageError: The history could not be read, or steps are missing.
            ValuesError: A value cannot be opened here.
        """
        from . import _history

        loaded = self.storage.load(check_run_id(run_id))
        if loaded is None:
            raise RunMissing(run_id)
        history = _history.plain(self.engine, loaded, self._outside.data_of)
        return _history.write(history).decode()

    def replay_history(self, path: str | Path) -> Replayed:
        """Hold today's code against the exported history at *path*, as `replay` does.

        The storage of this application is not asked. A flow that is not registered here is a
        disagreement too, with the reason ``flow-not-found``.

        Raises:
            HistoryUnreadable: The file holds none, or not a whole one.
        """
        from . import _history

        deployment, run, steps = _history.read(Path(path))
        engine = replace(self.engine, deployment=deployment, payloads=PlainPayloads())
        try:
            return hold_against(engine, run, steps, _nothing_kept)
        except FlowNotFound as error:
            reason = "flow-not-found"
            return Replayed(run.run_id, run.flow, len(steps), False, reason, str(error))


def _nothing_kept(run_id: str, digest: str) -> bytes:
    raise ValueCorrupt(run_id, digest, "an exported history has no references")
