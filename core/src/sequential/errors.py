"""Every error, as one tree.

Groups end in ``Error``; leaves read as statements. What to catch is the group. Each value that a
message names is an attribute. This module knows nothing else of the package.

    SequentialError
    ├── FlowError                  what the author of a flow or tool can mend
    │   ├── FlowNotFound
    │   ├── VersionNotFound
    │   ├── FlowUnreadable
    │   ├── NameTaken
    │   ├── ToolNotFound
    │   ├── NotAStep
    │   ├── FlowChanged
    │   └── InputMismatch
    ├── ValuesError                values on their way to or from storage
    │   ├── NotEncodable
    │   ├── NotDecodable
    │   ├── ValueMismatch
    │   ├── SignalMismatch
    │   ├── AmbiguousUnion
    │   ├── ValueCorrupt
    │   ├── RefGone
    │   └── HistoryUnreadable
    ├── StepError                  raised inside a flow; flows may catch it
    │   ├── ToolError
    │   ├── SignalTimedOut
    │   ├── ChildFailed
    │   ├── ChildCancelled
    │   ├── QuorumLost
    │   ├── PollTimedOut
    │   └── CompensationFailed
    ├── AttemptError               raised by a tool, or about one attempt of it
    │   ├── Rejected
    │   ├── StepTimedOut
    │   └── LeaseLost
    ├── RunError                   a run, seen from outside
    │   ├── RunIdInvalid
    │   ├── TokenInvalid
    │   ├── RunMissing
    │   ├── RunTaken
    │   ├── RunFailed
    │   ├── RunBlocked
    │   ├── RunNotEnded
    │   ├── RunStatusWrong
    │   └── PositionMissing
    ├── StorageError               raised by storages; the driver's error is the cause
    │   ├── StorageUnavailable
    │   ├── OutcomeUnknown
    │   ├── StorageRefused
    │   ├── StorageForeign
    │   ├── SchemaTooNew
    │   └── RecordCorrupt
    ├── TransportError             raised by transports
    ├── PluginError
    │   ├── SchemeUnknown
    │   └── PluginBroken
    └── ConfigError
    RunCancelled                   a BaseException: ``except Exception`` must not swallow a cancel
    └── BranchCancelled            raised in a branch that is needed no more
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


class SequentialError(Exception):
    """Everything that Sequential raises on purpose, but `RunCancelled`."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes: the constructors take values, of which the sentence is made."""
        return _restored, (type(self), self.args), self.__dict__


def _restored(kind: type[SequentialError], args: tuple[Any, ...]) -> SequentialError:
    return kind.__new__(kind, *args)


# The constructors take the values and make the sentence, so that no two places phrase one
# failure differently, and so that a copy through `copy` or a queue keeps the attributes.


class FlowError(SequentialError):
    """What the author of a flow or a tool can mend."""


class FlowNotFound(FlowError):
    """No flow of that name is registered in this process."""

    def __init__(self, name: str, known: Iterable[str] = ()) -> None:
        self.name = name
        self.known = tuple(sorted(known))
        have = ", ".join(self.known) or "none"
        super().__init__(
            f"no flow named {name!r} is registered (registered: {have}); name it as module:flow or"
            " path/file.py:flow, or list its module under `modules` in the configuration"
        )


class VersionNotFound(FlowError):
    """The flow is registered in this process, and does not carry on runs of that version."""

    def __init__(self, name: str, version: str, run_id: str) -> None:
        self.name = name
        self.version = version
        self.run_id = run_id
        super().__init__(
            f"run {run_id!r} was started with version {version!r} of flow {name!r}, which the code"
            f" here does not carry on; resume it where that version is deployed, or name it in"
            " `compatible`"
        )


class FlowUnreadable(FlowError):
    """The module or file that should hold a flow cannot be imported."""

    def __init__(self, target: str, reason: str) -> None:
        self.target = target
        self.reason = reason
        super().__init__(f"cannot read a flow from {target!r}: {reason}")


class NameTaken(FlowError):
    """Two functions ask for one name."""

    def __init__(self, kind: str, name: str, first: str, second: str) -> None:
        self.kind = kind
        self.name = name
        self.first = first
        self.second = second
        super().__init__(
            f"the {kind} name {name!r} is taken by {first}; give {second} another name"
        )


class ToolNotFound(FlowError):
    """No plugin and no registered tool answers to that category and name."""

    def __init__(self, category: str, name: str, known: Iterable[str] = ()) -> None:
        self.category = category
        self.name = name
        self.known = tuple(sorted(known))
        have = ", ".join(self.known) or "none"
        super().__init__(
            f"no tool answers to {category}.{name} (registered: {have});"
            " register it with @tool, or install the plugin that brings it"
        )


class NotAStep(FlowError):
    """A flow yielded or awaited something that is not a step."""

    def __init__(self, what: str, file: str, line: int) -> None:
        self.what = what
        self.file = file
        self.line = line
        super().__init__(
            f"{file}:{line} yields or awaits {what}, which is not a step; make it a tool"
            " (@tool) and await the tool, so that its result is saved"
        )


class FlowChanged(FlowError):
    """The code asks for something else than what the history holds."""

    def __init__(self, run_id: str, position: str, recorded: str, asked: str) -> None:
        self.run_id = run_id
        self.position = position
        self.recorded = recorded
        self.asked = asked
        super().__init__(
            f"run {run_id!r} recorded {recorded} at step {position}, but the code now asks for"
            f" {asked}; deploy code that matches the history, or fork the run"
        )


class InputMismatch(FlowError):
    """The input does not fit the parameters of the flow or tool."""

    def __init__(self, where: str, reason: str) -> None:
        self.where = where
        self.reason = reason
        super().__init__(f"the input does not fit {where}: {reason}")


class ValuesError(SequentialError):
    """A value on its way to or from storage."""


class NotEncodable(ValuesError):
    """A value cannot be stored; *path* says which part of it."""

    def __init__(self, path: str, type_name: str, reason: str) -> None:
        self.path = path
        self.type_name = type_name
        self.reason = reason
        super().__init__(f"cannot store {path} of type {type_name}: {reason}")


class NotDecodable(ValuesError):
    """Bytes that should hold a value do not."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"cannot read the value: {reason}")


class ValueMismatch(ValuesError):
    """A value does not fit the annotation that it is read by."""

    def __init__(self, where: str, path: str, reason: str) -> None:
        self.where = where
        self.path = path
        self.reason = reason
        super().__init__(f"{where}: {path} does not fit its annotation: {reason}")


class SignalMismatch(ValuesError):
    """A signal was not accepted: its value does not fit the type that the run waits for."""

    def __init__(self, run_id: str, name: str, path: str, reason: str, expected: str) -> None:
        self.run_id = run_id
        self.name = name
        self.path = path
        self.reason = reason
        self.expected = expected
        super().__init__(
            f"run {run_id!r} did not take signal {name!r}: {path} does not fit what it waits for:"
            f" {reason}; send {expected}"
        )


class AmbiguousUnion(ValuesError):
    """An annotation is a union of classes that plain JSON cannot tell apart."""

    def __init__(self, where: str, annotation: str) -> None:
        self.where = where
        self.annotation = annotation
        super().__init__(
            f"{where}: {annotation} is a union of classes that look alike as JSON; give each a"
            " tag field (msgspec `tag=`, or a pydantic discriminator)"
        )


class ValueCorrupt(ValuesError):
    """A stored value is missing or does not have the digest it was stored under."""

    def __init__(
        self,
        run_id: str,
        digest: str,
        reason: str,
        remedy: str = "restore it from a backup, then resume the run",
    ) -> None:
        self.run_id = run_id
        self.digest = digest
        self.reason = reason
        self.remedy = remedy
        super().__init__(
            f"the stored value {digest} of run {run_id!r} cannot be used: {reason}; {remedy}"
        )


class RefGone(ValuesError):
    """A `Ref` stands for a value of a run that was purged."""

    def __init__(self, run_id: str, what: str) -> None:
        self.run_id = run_id
        self.what = what
        super().__init__(
            f"a Ref stands for the value of {what}, which was purged; load it while that run is"
            " kept, or keep runs for longer (`retention`)"
        )


class StepError(SequentialError):
    """Raised inside a flow at the step that failed; flows may catch it."""


class ToolError(StepError):
    """A tool call failed; the same on the first run and on every replay.

    Attributes:
        tool: ``category.name``.
        type: Name of the exception's class, as text: no class is stored.
        message: The exception's message, at most 4 KiB.
        data: What the tool attached, plain data or None.
        attempts: How many attempts were made, from 1.
        retryable: Whether trying again could help, as far as the tool said.
    """

    def __init__(
        self,
        tool: str,
        type: str,
        message: str,
        data: object = None,
        attempts: int = 1,
        *,
        retryable: bool = True,
    ) -> None:
        self.tool = tool
        self.type = type
        self.message = message
        self.data = data
        self.attempts = attempts
        self.retryable = retryable
        tries = "" if attempts == 1 else f" after {attempts} attempts"
        super().__init__(f"{tool} failed{tries}: {type}: {message}")


class SignalTimedOut(StepError):
    """No signal of that name arrived in time."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"no signal {name!r} arrived in time")


class ChildFailed(StepError):
    """A child run failed, or could not be begun; the same on the first run and on every replay.

    Attributes:
        flow: Its flow.
        run_id: Its id.
        type: Name of the exception's class, as text; ``RunTaken`` when the id was another run's.
        message: The exception's message, at most 4 KiB.
        data: What was attached to it, plain data or None.
    """

    def __init__(
        self, flow: str, run_id: str, type: str, message: str, data: object = None
    ) -> None:
        self.flow = flow
        self.run_id = run_id
        self.type = type
        self.message = message
        self.data = data
        super().__init__(f"child run {run_id!r} of {flow} failed: {type}: {message}")


class ChildCancelled(StepError):
    """A child run was cancelled or terminated, and not by this run."""

    def __init__(self, flow: str, run_id: str) -> None:
        self.flow = flow
        self.run_id = run_id
        super().__init__(f"child run {run_id!r} of {flow} was cancelled")


class QuorumLost(StepError):
    """Too many branches of a `sequential.patterns.quorum` failed.

    Attributes:
        needed: How many had to succeed.
        branches: Of how many.
        errors: What the failed ones raised, by the number of the branch, in order of arrival.
    """

    def __init__(self, needed: int, branches: int, errors: Mapping[int, Exception]) -> None:
        self.needed = needed
        self.branches = branches
        self.errors = dict(errors)
        told = "; ".join(f"branch {number}: {error}" for number, error in self.errors.items())
        super().__init__(
            f"{needed} of {branches} branches had to succeed, {len(self.errors)} failed: {told}"
        )


class PollTimedOut(StepError):
    """What a `sequential.patterns.poll` asked for was not so in time."""

    def __init__(self, seconds: float, times: int) -> None:
        self.seconds = seconds
        self.times = times
        super().__init__(f"it was not so within {seconds:g} s; asked {times} times")


class CompensationFailed(StepError):
    """Compensations of a `sequential.patterns.saga` failed; the others were carried out.

    Attributes:
        cause: What made them necessary: the flow's own error, or a `RunCancelled`.
        errors: What they raised, in the order in which they were tried.
    """

    def __init__(self, cause: BaseException, errors: Iterable[Exception]) -> None:
        self.cause = cause
        self.errors = tuple(errors)
        told = "; ".join(map(str, self.errors))
        super().__init__(
            f"{len(self.errors)} compensations failed: {told}; undo these by hand"
            f" (they were needed because of {type(cause).__name__}: {cause})"
        )


class AttemptError(SequentialError):
    """Raised by a tool, or about one attempt of it."""


class Rejected(AttemptError):
    """Raise it in a tool when the other side certainly did nothing.

    A retry after it is a new request, with a new idempotency key. Any other exception leaves open
    whether the other side acted, and a retry keeps the key.

    Args:
        message: For people.
        data: Plain data for the flow.
        retryable: Whether the retry policy may try again.
    """

    def __init__(self, message: str, data: object = None, *, retryable: bool = True) -> None:
        self.message = message
        self.data = data
        self.retryable = retryable
        super().__init__(message)


class StepTimedOut(AttemptError):
    """An attempt took longer than the tool's timeout; whether it acted is not known."""

    def __init__(self, tool: str, seconds: float) -> None:
        self.tool = tool
        self.seconds = seconds
        super().__init__(f"{tool} did not answer within {seconds:g} s")


class LeaseLost(AttemptError):
    """Another invocation has taken the run; nothing of this one is saved any more."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f"run {run_id!r} was taken over by another invocation")


class RunError(SequentialError):
    """A run, seen from outside."""


class RunIdInvalid(RunError):
    """A run id has a character or a length that is not allowed."""

    def __init__(self, run_id: object) -> None:
        self.run_id = run_id
        super().__init__(
            f"{str(run_id)[:80]!r} cannot be a run id; use 1 to 128 of A-Z a-z 0-9 _ ~ . -,"
            " starting with a letter or digit"
        )


class TokenInvalid(RunError):
    """A token does not name a call that could be answered in this storage."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"the token cannot be used: {reason}; give what `ToolContext.answer_token` said,"
            " to an application over the same storage"
        )


class RunMissing(RunError):
    """There is no run of that id."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f"there is no run {run_id!r} in this storage; `sequential list` shows all")


class RunTaken(RunError):
    """The run id belongs to a run of another flow or with another input."""

    def __init__(self, run_id: str, reason: str) -> None:
        self.run_id = run_id
        self.reason = reason
        super().__init__(
            f"run {run_id!r} exists with {reason}; use the same flow and input, or another run id"
        )


class RunFailed(RunError):
    """The flow raised; *type* and *message* are those of its exception."""

    def __init__(self, run_id: str, type: str, message: str, data: object = None) -> None:
        self.run_id = run_id
        self.type = type
        self.message = message
        self.data = data
        super().__init__(
            f"run {run_id!r} failed: {type}: {message};"
            f" mend the cause, then `sequential retry {run_id}`"
        )


class RunBlocked(RunError):
    """The run is parked until a deploy or a person removes the reason."""

    def __init__(self, run_id: str, reason: str, diff: str = "") -> None:
        self.run_id = run_id
        self.reason = reason
        self.diff = diff
        tail = f"\n{diff}" if diff else ""
        super().__init__(f"run {run_id!r} is blocked: {reason}{tail}")


class RunNotEnded(RunError):
    """The run had not ended when the time was up."""

    def __init__(self, run_id: str, status: str) -> None:
        self.run_id = run_id
        self.status = status
        super().__init__(f"run {run_id!r} has not ended yet; it is {status}")


class RunStatusWrong(RunError):
    """What was asked cannot be done to a run in its status."""

    def __init__(self, run_id: str, status: str, asked: str, allowed: str) -> None:
        self.run_id = run_id
        self.status = status
        self.asked = asked
        self.allowed = allowed
        super().__init__(f"cannot {asked} run {run_id!r}: it is {status}; {asked} is for {allowed}")


class PositionMissing(RunError):
    """A run has no recorded step at that position."""

    def __init__(self, run_id: str, position: str) -> None:
        self.run_id = run_id
        self.position = position
        super().__init__(
            f"run {run_id!r} has no step at position {position!r}; `sequential show {run_id}`"
            " lists them"
        )


class StorageError(SequentialError):
    """Raised by storages; the driver's own error is its cause."""


class StorageUnavailable(StorageError):
    """The storage cannot be reached; nothing was written. Trying again later may help."""

    def __init__(self, storage: str, reason: str) -> None:
        self.storage = storage
        self.reason = reason
        super().__init__(f"{storage} cannot be reached: {reason}")


class OutcomeUnknown(StorageError):
    """A write may or may not have been applied; read before writing again."""

    def __init__(self, storage: str, reason: str) -> None:
        self.storage = storage
        self.reason = reason
        super().__init__(f"{storage} did not confirm a write: {reason}")


class StorageRefused(StorageError):
    """The storage said no and will go on saying so: full, read-only, no permission."""

    def __init__(self, storage: str, reason: str) -> None:
        self.storage = storage
        self.reason = reason
        super().__init__(f"{storage} refused a write: {reason}; nothing was changed")


class StorageForeign(StorageError):
    """What stands at the address is not Sequential's."""

    def __init__(self, storage: str, reason: str, remedy: str = "name another place") -> None:
        self.storage = storage
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"{storage} is not a Sequential storage: {reason}; {remedy}")


class SchemaTooNew(StorageError):
    """The storage was written by a newer version of Sequential."""

    def __init__(self, storage: str, found: int, supported: int) -> None:
        self.storage = storage
        self.found = found
        self.supported = supported
        super().__init__(
            f"{storage} has schema {found}, this version knows up to {supported};"
            " install a newer sequential-core"
        )


class RecordCorrupt(StorageError):
    """A stored record cannot be what Sequential wrote."""

    def __init__(self, run_id: str, reason: str) -> None:
        self.run_id = run_id
        self.reason = reason
        super().__init__(f"the record of run {run_id!r} is damaged: {reason}")


class HistoryUnreadable(ValuesError):
    """A file is no exported history, or not a whole one."""

    def __init__(self, source: str, reason: str) -> None:
        self.source = source
        self.reason = reason
        super().__init__(
            f"{source} cannot be read as an exported history: {reason};"
            " write it anew with `sequential export RUN_ID`"
        )


class TransportError(SequentialError):
    """Raised by transports: *unsent* runs may not have been told of; a sweeper will find them."""

    def __init__(self, reason: str, unsent: Iterable[str]) -> None:
        self.reason = reason
        self.unsent = tuple(unsent)
        runs = ", ".join(self.unsent[:3])
        more = f" and {len(self.unsent) - 3} more" if len(self.unsent) > 3 else ""
        super().__init__(f"no resume message for {runs}{more}: {reason}")


class PluginError(SequentialError):
    """A plugin is missing or broken."""


class SchemeUnknown(PluginError):
    """No plugin opens URLs of that scheme."""

    def __init__(self, noun: str, scheme: str, known: Iterable[str], remedy: str) -> None:
        self.noun = noun
        self.scheme = scheme
        self.known = tuple(sorted(known))
        self.remedy = remedy
        have = ", ".join(self.known) or "none"
        super().__init__(f"no {noun} opens {scheme}:// (known: {have}); {remedy}")


class PluginBroken(PluginError):
    """An installed plugin cannot be loaded."""

    def __init__(self, plugin: str, reason: str) -> None:
        self.plugin = plugin
        self.reason = reason
        super().__init__(f"plugin {plugin!r} cannot be loaded: {reason}")


class ConfigError(SequentialError):
    """A setting has a value that cannot be used."""

    def __init__(self, setting: str, value: object, remedy: str) -> None:
        self.setting = setting
        self.value = value
        self.remedy = remedy
        super().__init__(f"{setting} = {value!r} cannot be used; {remedy}")


class RunCancelled(BaseException):
    """The run was cancelled.

    Inside a flow it is raised at the first step after the cancel arrived, so that handlers may
    run compensating steps; `Sequential.run` raises it when the run ended that way.
    """

    def __init__(self, run_id: str = "", reason: str = "") -> None:
        self.run_id = run_id
        self.reason = reason
        super().__init__(f"run {run_id!r} was cancelled" + (f": {reason}" if reason else ""))


class BranchCancelled(RunCancelled):
    """This branch is needed no more: another one won the race, or failed the gather.

    Raised at the step that the branch waits for, so that its handlers may run compensating steps.
    """
