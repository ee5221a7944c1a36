"""A hundred no-op steps of Sequential."""

from __future__ import annotations

import sys

from sequential import Sequential

from .measure import subject
from .peers import STEPS, serve

if __name__ == "__main__":
    made = subject(lambda n: None)
    with Sequential(sys.argv[1], registry=made.registry) as app:
        serve(lambda: app.run(made.flow, {"count": STEPS}))
