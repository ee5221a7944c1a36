"""A copy of runs in one SQLite file, to look at: what a slow or distant storage is seen through.

`storage` is how it is looked at, `copying` how it is brought up to date, `file` what is written.
"""

from __future__ import annotations

from .copying import Copied, Projector
from .file import ProjectionFile
from .storage import ProjectionStorage, open_projection

__all__ = ["Copied", "ProjectionFile", "ProjectionStorage", "Projector", "open_projection"]
