"""What is shown and done at a callback link: GET shows a form and does nothing, POST answers.

Mail programs and scanners open links by themselves; only a form that is sent is an answer.
"""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import parse_qsl

from sequential import Sequential
from sequential.errors import NotEncodable, RunMissing, SignalMismatch, TokenInvalid

from .callbacks import Link, LinkRefused, read_token, token_hash
from .exchange import Answer, Call, Refusal, bad_request, is_json, read_json
from .signing import Keys

_log = logging.getLogger("sequential")

_HEADERS = {
    "content-security-policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-frame-options": "DENY",
}
_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="robots" content="noindex">'
    '<meta name="viewport" content="width=device-width"><title>Answer</title>{}</html>'
)
_FORM = (
    '<form method="post"><p><label for="answer">Your answer</label></p>'
    '<p><textarea id="answer" name="answer" rows="4" cols="60" required></textarea></p>'
    "<p><button>Send</button></p></form>"
)
_MOST_FIELDS = 100


class Links:
    """The two operations of a link. Without keys no link is valid."""

    def __init__(self, app: Sequential, keys: Keys | None) -> None:
        self._app = app
        self._keys = keys

    def ask(self, call: Call) -> Answer:
        """Show the form."""
        if self._link(call) is None:
            return _said(404, "This link is not valid, or no longer.")
        return _page(200, _FORM)

    def answer(self, call: Call) -> Answer:
        """Take what was sent as the result of the tool call; the first one counts.

        A form arrives as an object of texts, JSON as it is.

        Raises:
            Refusal: The body cannot be read.
        """
        link = self._link(call)
        if link is None:
            return _said(404, "This link is not valid, or no longer.")
        value = _value(call)
        try:
            accepted = self._app.answer(link.answer_token, value)
        except (RunMissing, TokenInvalid):
            accepted = False  # or it was made over another storage
        except (NotEncodable, SignalMismatch) as error:
            raise bad_request(str(error)[:500]) from None
        shown = token_hash(call.path["token"])
        _log.info("link %s of run %s: answer %s", shown, link.run_id, _word(accepted))
        if not accepted:
            return _said(409, "This was answered before, or nobody waits for the answer any more.")
        return _said(200, "Thank you. Your answer has arrived.")

    def _link(self, call: Call) -> Link | None:
        token = call.path["token"]
        if self._keys is None:
            return None
        try:
            return read_token(self._keys, token, self._app.clock.now())
        except LinkRefused as error:
            _log.info("link %s was refused: %s", token_hash(token), error)
            return None


def _value(call: Call) -> Any:
    kind = call.header("content-type")
    if is_json(kind):
        return read_json(call.body)
    if kind.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise Refusal(415, "unsupported_media_type")
    try:
        pairs = parse_qsl(
            call.body.decode("ascii"), keep_blank_values=True, errors="strict",
            max_num_fields=_MOST_FIELDS,
        )  # fmt: skip
    except ValueError:
        raise bad_request("the form cannot be read") from None
    found = dict(pairs)
    if not found or len(found) != len(pairs):
        raise bad_request("a form has each of its fields once, and at least one")
    return found


def _said(status: int, sentence: str) -> Answer:
    return _page(status, f"<p>{sentence}</p>")


def _page(status: int, inside: str) -> Answer:
    return Answer(status, headers=_HEADERS, text=_PAGE.format(inside))


def _word(accepted: bool) -> str:
    return "taken" if accepted else "refused"
