"""What looks secret in a text or in plain data, and the same without it. Pure, one place for all.

Asked before anything is stored for people or leaves: messages of errors, log lines, attributes of
foreign spans, previews. Two ways to tell: the name that a value stands under, and its shape. Takes
time linear in the text, whatever the text is: what repeats is possessive, or begins at a word.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, NamedTuple

MASK = "•••"
"""What stands in the place of a secret."""

LIMIT = 4_000
"""Characters of a text that are looked through, and kept, unless the caller says otherwise."""

_NAMES = (
    r"passw(?:or)?d|passphrase|pwd|secret|token(?!s|i[sz]|[-_.](?:count|type|limit))"
    r"|api[-_ ]?key|access[-_]?key|account[-_]?key|private[-_]?key|auth[-_]?key|x-functions-key"
    r"|authori[sz]ation|credential|session[-_.]?id|csrf|signature"
)
_ONLY_NAMES = r"|cookie|\bpin\b|\bcvv\b|\bcvc\b|\bsig\b"

_SHAPES = (
    r"(?<![\w-])eyJ[\w-]{8,}+\.[\w-]{8,}+(?:\.[\w-]*+)*+",  # a JSON web token
    (
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----[\s\S]*?"
        r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)"
    ),
    r"AGE-SECRET-KEY-1[A-Z0-9]{20,}+",
    r"(?<![A-Z0-9])(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}",
    r"\b(?i:bearer|basic|negotiate)\s{1,3}(?=[\w.+/~-]{0,64}[\dA-Z=])[\w.+/=~-]{8,}+",
    r"(?<![\w-])(?:sk|pk|rk)[-_][\w-]{16,}+",  # Stripe, OpenAI, Anthropic
    (
        r"(?<![\w-])(?:gh[oprsu]|github_pat|gl(?:pat|dt|rt|cbt)|npm|pypi|hf|whsec|shp(?:at|ca|pa|ss)"
        r"|dop_v1|doo_v1|dckr_pat|lin_api|xapp|xox[abeprs]|hvs|hvb|dp\.pt|sbp|nvapi|r8|atlasv1"
        r"|ATATT3|dapi|ntn|figd|tfp|PMAK|rubygems|sntrys|glsa)[-_.]?(?=[\w.=-]{0,64}\d)[\w.=-]{16,}+"
    ),
    r"(?<![\w-])AIza[\w-]{30,}+",
    r"(?<![\w-])ya29\.[\w-]{16,}+",
    r"(?<![\w-])SG\.[\w-]{16,}+\.[\w-]{16,}+",
    r"(?<![\w-])(?:AC|SK)[0-9a-f]{32}(?!\w)",
    r"(?<![\w-])\d{8,10}:[\w-]{35}(?!\w)",  # a bot of Telegram
    r"(?<=hooks\.slack\.com/services/)[\w/]{16,}+",
    r"(?<=discord\.com/api/webhooks/)[\w/-]{16,}+",
    r"(?<=://)[^/\s@'\"<>]++(?=@)",  # user info of a URL
)

_QUOTED = r"\\*+\"(?:[^\"\\]|\\[^\"])*+\\?\"?|\\*+'(?:[^'\\]|\\[^'])*+\\?'?"
_NOTHING = r"(?!(?:None|null|true|false|nil|undefined)\b)"

_PAIRS = (
    # A header with cookies is one secret up to the end of its line.
    r"(?P<cookie>(?i:(?:set-)?cookie)[\"']?\s{0,3}[:=]\s{0,3}[\"']?)(?P<cookies>[^\r\n\"']++)",
    (
        rf"(?P<name>(?i:{_NAMES})[\w.-]{{0,32}}(?:\\{{0,3}}[\"'])?\]?\s{{0,3}}"
        r"(?:(?P<set>=>?)|:)\s{0,3})"
        rf"{_NOTHING}(?P<value>(?i:bearer|basic|digest|token)\s{{1,3}}[^\s,;\"']++|{_QUOTED}"
        # After a colon a word may be prose; one with a digit in it hardly is.
        r"|(?(set)[^\s&;,\"'<>(){}\[\]]++|(?=[^\s,;\"']{0,64}\d)[^\s,;\"'(){}\[\]]{4,}+))"
    ),
)

_CARD = r"(?<![\w.-])[2-6](?:[ -]?\d){12,18}(?!\w)"


class _Patterns(NamedTuple):
    names: re.Pattern[str]
    shapes: re.Pattern[str]
    pairs: re.Pattern[str]
    cards: re.Pattern[str]


@cache
def _patterns() -> _Patterns:
    # Compiled when first asked for: most processes start and end without.
    return _Patterns(
        re.compile(f"(?i){_NAMES}{_ONLY_NAMES}"),
        re.compile("|".join(_SHAPES)),
        re.compile("|".join(_PAIRS)),
        re.compile(_CARD),
    )


def redacted_text(text: str, limit: int = LIMIT) -> str:
    """Return *text* with `MASK` for what looks like a key, a token, a password or a card number.

    Args:
        text: Any text.
        limit: Characters to return at most; what is far behind them is not looked at.
    """
    if len(text) > 2 * limit:
        text = _cut_at_word(text[: 2 * limit])
    patterns = _patterns()
    text = patterns.shapes.sub(MASK, text)
    text = patterns.pairs.sub(_without_value, text)
    return patterns.cards.sub(_without_card, text)[:limit]


def redacted(data: Any, key: str = "") -> Any:
    """Return plain JSON *data* with what looks secret masked: by the names of keys, and by shape.

    *key* is what the data stands under; what is no data of JSON comes back as it is.
    """
    if key and data not in (None, "", False, True) and is_secret_name(key):
        return MASK
    if isinstance(data, dict):
        return {redacted_text(name): redacted(item, name) for name, item in data.items()}
    if isinstance(data, list):
        return [redacted(item) for item in data]
    return redacted_text(data) if isinstance(data, str) else data


def is_secret_name(name: str) -> bool:
    """Tell whether what stands under *name* is to be taken for a secret, whatever it is."""
    return _patterns().names.search(name) is not None


def _cut_at_word(text: str) -> str:
    """Drop the word that a cut went through: half a secret may look like none."""
    end = max(text.rfind(" "), text.rfind("\n"))
    return text[:end] if end > len(text) - 1024 else text


def _without_value(found: re.Match[str]) -> str:
    if found["cookie"]:
        return f"{found['cookie']}{MASK}"
    value = found["value"]
    quote = value.lstrip("\\")[:1]
    if quote not in "\"'":
        return f"{found['name']}{MASK}"
    opening = value[: value.index(quote) + 1]
    return f"{found['name']}{opening}{MASK}{opening if value.endswith(quote) else ''}"


def _without_card(found: re.Match[str]) -> str:
    digits = [int(each) for each in found[0] if each.isdigit()]
    doubled = [sum(divmod(2 * each, 10)) for each in digits[-2::-2]]
    return MASK if (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0 else found[0]
