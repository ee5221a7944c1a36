"""The worker, for applications that run one themselves: ``Worker(app).run()``.

On the command line it is ``sequential worker``.
"""

from __future__ import annotations

from ._worker import Worker

__all__ = ["Worker"]
