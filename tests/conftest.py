"""Settings that every test shares, and the fixture plugins `tests/fix_*.py`.

A fixture plugin is loaded because it is there: a new one needs no line in this file.
"""

import os
from pathlib import Path

from hypothesis import settings

pytest_plugins = [f"tests.{path.stem}" for path in sorted(Path(__file__).parent.glob("fix_*.py"))]

# A busy machine is not a bug of the code under test; the suite has a timeout of its own.
settings.register_profile("sequential", settings.default, deadline=None)
# For `nox -s simulate`, which has the time.
settings.register_profile("simulate", settings.get_profile("sequential"), max_examples=4_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "sequential"))
