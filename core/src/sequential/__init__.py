"""Sequential: flows that pause, die, resume and finish.

The names below are what flows, applications and plugins are written with. Public as well are the
modules `audit`, `codecs`, `errors`, `executor`, `hookspecs`, `logs`, `outcomes`, `patterns`,
`redaction`, `refs`, `spans`, `storage`, `telemetry`, `testing` and `worker`.
"""

from . import errors
from ._app import Sequential
from ._calls import Pending, ToolCall, ToolContext, ToolResult
from ._children import run_child, start_child
from ._outcomes import Outcome
from ._parallel import Raced, gather, map_tool, race
from ._protocol import Terms
from ._registry import Registry, flow, tool
from ._scope import deprecate_patch, det, is_pausing, logger, patched, set_progress
from ._steps import (
    Step,
    Steps,
    continue_as_new,
    save,
    sleep,
    sleep_until,
    tool_call,
    wait_for_signal,
)
from ._tools import RetryPolicy
from .errors import (
    Rejected,
    RunBlocked,
    RunCancelled,
    RunFailed,
    SignalTimedOut,
    ToolError,
)
from .executor import create_flow_executor
from .hookspecs import hookimpl

__all__ = [
    "Outcome",
    "Pending",
    "Raced",
    "Registry",
    "Rejected",
    "RetryPolicy",
    "RunBlocked",
    "RunCancelled",
    "RunFailed",
    "Sequential",
    "SignalTimedOut",
    "Step",
    "Steps",
    "Terms",
    "ToolCall",
    "ToolContext",
    "ToolError",
    "ToolResult",
    "continue_as_new",
    "create_flow_executor",
    "deprecate_patch",
    "det",
    "errors",
    "flow",
    "gather",
    "hookimpl",
    "is_pausing",
    "logger",
    "map_tool",
    "patched",
    "race",
    "run_child",
    "save",
    "set_progress",
    "sleep",
    "sleep_until",
    "start_child",
    "tool",
    "tool_call",
    "wait_for_signal",
]
