"""What runs publish of their progress, on their page and in the list."""

from __future__ import annotations

from typing import Any

import pytest

from sequential.storage import Payload, encode_value, evolve
from tests.dashboard.pages import errors, said, visit
from tests.fix_dashboard import Opened


def published(demo: Opened, value: Any) -> str:
    run = demo.app.get(next(each for each in demo.runs("waiting") if each.startswith("approval")))
    data = encode_value(value)
    demo.app.storage.commit(evolve(run, progress=Payload(data, size=len(data)), op_id="p"), run)
    return run.run_id


def test_a_share_is_a_bar_with_its_words(demo: Opened) -> None:
    run_id = published(demo, {"done": 3, "total": 10, "text": "shrinking"})
    test = visit("run", id=run_id)
    assert errors(test) == []
    (bar,) = test.get("progress")
    assert bar.proto.value == 30
    assert bar.proto.text.replace("\\", "") == "shrinking (3 of 10)"
    listed = visit("runs").dataframe[0].value
    assert "shrinking (3 of 10)" in set(listed["Progress"])


@pytest.mark.parametrize("value", ["indexing", {"key": "AKIAIOSFODNN7EXAMPLE"}])
def test_words_are_text_with_secrets_masked_for_who_may_not_see_them(
    demo: Opened, value: Any
) -> None:
    from sequential_dashboard.values import Values

    run_id = published(demo, value)
    assert "Progress: " in said(visit("run", id=run_id))
    masked = Values(demo.app, whole=False).of_progress(demo.app.get(run_id))
    assert masked is not None
    assert "AKIAIOSFODNN7EXAMPLE" not in masked.text
