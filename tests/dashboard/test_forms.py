"""Forms for expected values."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sequential_dashboard.forms import WHOLE, fields_of, value_of

DECISION = {
    "$ref": "#/$defs/Decision",
    "$defs": {
        "Decision": {
            "type": "object",
            "properties": {
                "approve": {"type": "boolean"},
                "limit": {"type": "integer", "default": 5},
                "share": {"type": "number"},
                "how": {"enum": ["mail", "phone"]},
                "comment": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
                "more": {"type": "array"},
            },
            "required": ["approve", "limit", "share", "how", "more"],
        }
    },
}


def test_an_object_of_plain_fields_becomes_a_form() -> None:
    found = fields_of(json.dumps(DECISION))
    assert [(each.name, each.kind, each.required) for each in found] == [
        ("approve", "boolean", True), ("limit", "integer", True), ("share", "number", True),
        ("how", "choice", True), ("comment", "text", False), ("more", "json", True),
    ]  # fmt: skip
    answers = {"approve": True, "limit": 7.0, "share": 0.5, "how": "mail", "comment": "",
               "more": "[1]"}  # fmt: skip
    assert value_of(found, answers) == {
        "approve": True, "limit": 7, "share": 0.5, "how": "mail", "more": [1],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "kind"),
    [('{"type": "string"}', "text"), ('{"type": "integer"}', "integer"), ("", "json"),
     ("{]", "json"), ("[]", "json"), ('{"$ref": "#/$defs/none"}', "json"),
     ('{"$ref": "#"}', "json")],
)  # fmt: skip
def test_everything_else_is_one_field(schema: str, kind: str) -> None:
    assert [(each.name, each.kind) for each in fields_of(schema)] == [(WHOLE, kind)]


@pytest.mark.parametrize("given", ["", "pear", "{", None])
def test_what_is_no_json_is_refused_with_the_way_to_write_it(given: Any) -> None:
    with pytest.raises(ValueError, match="quotes"):
        value_of(fields_of(""), {WHOLE: given})


def test_a_missing_answer_names_its_field() -> None:
    found = fields_of(json.dumps(DECISION))
    with pytest.raises(ValueError, match="limit is missing"):
        value_of(found, {"approve": True})
