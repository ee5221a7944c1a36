"""The named points at which a process can be told to die, and what each must lead to.

Knows no storage and no flow: whoever passes a point says so with `reach`, which does nothing in a
process that was not armed for it. An armed process writes the point down and kills itself there, so
that nothing of it runs on: no handler, no flush, no goodbye. Or it stops itself until it is let go.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import NamedTuple

from tests.acceptance.effects import Effects, Line

NEVER, ALWAYS, PERHAPS = "never", "always", "perhaps"


class Point(NamedTuple):
    """One failpoint.

    Attributes:
        name: What `reach` is called with.
        row: Of the table of crash points in the protocol.
        again: Whether a tool must be executed again because of a death there.
        flow: A flow that comes by.
        pause: The pause policy under which it does.
        hits: A process dies at the first up to this time that it comes by.
    """

    name: str
    row: str
    again: str = NEVER
    flow: str = "chain"
    pause: str = "budget"
    hits: int = 2

    @property
    def purges(self) -> bool:
        """Whether the process must purge a run to come by."""
        return self.name.startswith("purge.")


POINTS = (
    Point("create.before", "F01", hits=1),
    Point("create.commit", "F01", hits=1),
    Point("create.after", "F02", hits=1),
    Point("send.before", "F03 F23", pause="every-step", hits=3),
    Point("send.after", "F27", pause="every-step", hits=3),
    Point("due.before", "F28"),
    Point("due.commit", "F28"),
    Point("due.after", "F28 F30"),
    Point("load.before", "F06"),
    Point("load.after", "F06"),
    Point("claim.before", "F07"),
    Point("claim.commit", "F07"),
    Point("claim.after", "F09"),
    Point("flow.begin", "F12"),
    Point("flow.replay", "F13"),
    Point("fetch.before", "F13", flow="weave", hits=1),
    Point("fetch.after", "F13", flow="weave", hits=1),
    Point("intent.before", "F16", flow="insist", hits=1),
    Point("intent.commit", "F16", flow="insist", hits=1),
    Point("intent.after", "F16", flow="insist", hits=1),
    Point("once.before-effect", "F16", flow="insist", hits=1),
    Point("once.after-effect", "F16", flow="insist", hits=1),
    Point("tool.before-effect", "F17", ALWAYS),
    Point("tool.after-effect", "F18", ALWAYS),
    Point("encode", "F19", ALWAYS),
    Point("value.before", "F20", ALWAYS, "weave", hits=1),
    Point("value.commit", "F20", ALWAYS, "weave", hits=1),
    Point("value.after", "F20", ALWAYS, "weave", hits=1),
    Point("attempt.before", "F21", ALWAYS, "insist"),
    Point("attempt.commit", "F21", ALWAYS, "insist"),
    Point("attempt.after", "F22", flow="insist"),
    Point("step.before", "F21", ALWAYS),
    Point("step.steps", "F21", ALWAYS),
    Point("step.commit", "F21", ALWAYS),
    Point("step.after", "F22", hits=3),
    Point("last-step.before", "F21", ALWAYS, pause="every-step"),
    Point("last-step.commit", "F21", ALWAYS, pause="every-step"),
    Point("last-step.after", "F23", pause="every-step"),
    Point("record.before", "F21", flow="rest"),
    Point("record.commit", "F21", flow="rest"),
    Point("record.after", "F22", flow="rest"),
    Point("park.before", "F31", flow="rest"),
    Point("park.commit", "F31", flow="rest"),
    Point("park.after", "F31", flow="rest"),
    Point("message.before", "F31 F32", flow="ask", hits=1),
    Point("message.commit", "F31 F32", flow="ask", hits=1),
    Point("message.after", "F32", flow="ask", hits=1),
    Point("renew.before", "F34 F35", PERHAPS, "slow"),
    Point("renew.commit", "F34 F35", PERHAPS, "slow"),
    Point("renew.after", "F34 F35", PERHAPS, "slow"),
    Point("end.before", "F37"),
    Point("end.commit", "F37"),
    Point("end.after", "F38"),
    Point("purge.before", "F39", flow="weave", hits=1),
    Point("purge.steps", "F39", flow="weave", hits=1),
    Point("purge.values", "F39", flow="weave", hits=1),
    Point("purge.run", "F39", flow="weave", hits=1),
    Point("purge.commit", "F39", flow="weave", hits=1),
    Point("purge.after", "F39", flow="weave", hits=1),
)

_lock = threading.Lock()
_armed: dict[str, int] = {}
_do: list[tuple[signal.Signals, Effects]] = []


def arm(name: str, hit: int, sign: signal.Signals, log: Effects) -> None:
    """Make this process send itself *sign* the *hit*-th time it comes by *name*; *log* it."""
    _armed[name] = hit
    _do[:] = [(sign, log)]


def reach(name: str, run_id: str = "-") -> None:
    """Say that this thread is at *name*, at work on *run_id*. May not return."""
    if name not in _armed:
        return
    with _lock:
        _armed[name] -= 1
        if _armed[name] == 0:
            sign, log = _do[0]
            kind = "died" if sign == signal.SIGKILL else "stood"
            log.write(Line(kind, os.getpid(), name, run_id))
            os.kill(os.getpid(), sign)
