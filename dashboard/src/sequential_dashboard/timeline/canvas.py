"""Mounts the canvas in a page. Its script is text of this package: no build, no network.

What Python gets back is the key of the selected row. It is kept by Streamlit, never sent down.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import streamlit as st

NAME = "sequential_dashboard.timeline"


@cache
def script() -> str:
    """Return the component's script: the time axis, what draws, then what people do."""
    return _text("fold.js") + _text("drawing.js") + _text("canvas.js")


def draw(payload: str, *, key: str, focus: str = "") -> str:
    """Draw *payload*; return the key of the selected row, empty if there is none.

    Args:
        payload: From `payload_of`, as JSON text: a click then costs no encoding of 5,000 rows.
        key: Of the element; another run needs another.
        focus: Row to begin with, from the page's address. It must stay the same while the page is
            open, or all would be sent again.
    """
    mount = st.components.v2.component(NAME, css=_text("canvas.css"), js=script())
    found = mount(
        key=key, data={"rows": payload, "focus": focus}, on_selected_change=lambda: None,
        height="content",
    )  # fmt: skip
    selected = getattr(found, "selected", None)
    return selected if isinstance(selected, str) else ""


@cache
def _text(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
