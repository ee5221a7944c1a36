"""The pause policy: whether an invocation goes on after a step, or exits and is resumed.

The safety is the same under each: every result is durable before the flow sees it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from .errors import ConfigError

_BUDGET = re.compile(r"budget(?::(\d+(?:\.\d+)?)s(?:,(\d+)steps)?|:(\d+)steps)?\Z")
_REMEDY = "use every-step, when-waiting, budget, budget:30s, budget:100steps or budget:30s,100steps"


@dataclass(frozen=True, slots=True)
class PausePolicy:
    """When to pause although nothing is waited for.

    Attributes:
        seconds: After this long; infinite for never.
        steps: After this many recorded steps; infinite for never.
        every_step: After each tool call.
    """

    seconds: float = math.inf
    steps: float = math.inf
    every_step: bool = False

    @classmethod
    def parse(cls, text: str | PausePolicy) -> PausePolicy:
        """Read ``every-step``, ``when-waiting``, ``budget`` or ``budget:30s,100steps``.

        Raises:
            ConfigError: It is none of these.
        """
        if isinstance(text, PausePolicy):
            return text
        if text == "every-step":
            return cls(every_step=True)
        if text == "when-waiting":
            return cls()
        found = _BUDGET.match(text)
        if found is None:
            raise ConfigError("pause", text, _REMEDY)
        seconds, *either = found.groups()
        steps = either[0] or either[1]
        if seconds is None and steps is None:
            return BUDGET
        policy = cls(float(seconds or math.inf), float(steps or math.inf))
        if not (policy.seconds and policy.steps):
            raise ConfigError("pause", text, f"{_REMEDY}, and more than nothing")
        return policy


BUDGET = PausePolicy(seconds=30.0)
"""The policy where nothing else is said: go on inline for half a minute, then pause."""
