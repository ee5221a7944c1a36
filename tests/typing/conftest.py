"""Leaves out what needs mypy and pyright, where neither the session nor the machine has them.

The `types` session sets `CHECKERS=required`, and fails without them; `test_session.py` holds it to
that.
"""

import os
from importlib.util import find_spec

if os.environ.get("CHECKERS") != "required" and not (find_spec("mypy") and find_spec("pyright")):
    collect_ignore = ["test_typing.py"]
