"""The fuzzers for a moment, and the same promises under hypothesis."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequential._codec import decode, encode, encode_canonical
from sequential._model import At, Run
from sequential._storage import Query
from sequential._storage_rules import page_token, read_page_token
from sequential.testing._storage_samples import plain
from tests.hostile import fuzz
from tests.hostile.fuzz import TARGETS, corpus, played

INPUTS = 2500
"""Of each target in an ordinary test run: some tenths of a second."""

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
whole_minutes = st.integers(-1439, 1439).map(lambda n: dt.timezone(dt.timedelta(minutes=n)))
hashables: Any = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**80), 2**80),
    st.floats(allow_nan=False, allow_infinity=False),
    texts,
    st.binary(max_size=8),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.datetimes(timezones=st.none() | whole_minutes),
    st.dates(),
    st.times(timezones=st.none() | whole_minutes),
    st.timedeltas(),
    st.uuids(),
    texts.map(Path),
    texts.map(PurePosixPath),
)
values: Any = st.recursive(
    hashables,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(texts | st.just("$"), inner, max_size=4),
        st.frozensets(hashables, max_size=4),
        st.sets(hashables, max_size=4),
    ),
    max_leaves=20,
)


def alike(one: Any, other: Any) -> bool:
    """Tell whether two values are equal, and each part of its type: 1, True and 1.0 are not.

    But for *fold*, which no text of a time holds: aware times keep their offset instead.
    """
    if type(one) is not type(other) or one != other:
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return all(map(alike, one, other))
    if isinstance(one, set | frozenset):
        return sorted(map(str, one)) == sorted(map(str, other))
    return str(one) == str(other)


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_from_the_corpus_and_around_it_hold(name: str) -> None:
    assert len(list(islice(played(name, seed=1), INPUTS))) == INPUTS


@pytest.mark.parametrize("name", TARGETS)
def test_a_corpus_has_more_than_one_sort_of_answer(name: str) -> None:
    answers = {TARGETS[name](data) for data in corpus(name)}
    assert len(answers) > 1


@pytest.mark.parametrize(("name", "answer"), [("callback", "read"), ("signature", "let in")])
def test_a_corpus_has_what_only_we_can_make(name: str, answer: str) -> None:
    """Where its form changes, what was made before is refused like anything else."""
    assert answer in {TARGETS[name](data) for data in corpus(name)}


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.binary(max_size=300))
def test_any_bytes_hold(name: str, data: bytes) -> None:
    TARGETS[name](data)


@given(values)
def test_every_value_that_is_accepted_comes_back_as_itself(value: object) -> None:
    data = encode(value)
    assert alike(decode(data), value)
    assert encode(decode(data)) == data
    assert alike(decode(encode_canonical(value)), decode(encode_canonical(decode(data))))


@given(st.floats(0, 1e15), st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_~.\-]{0,127}\Z"))
def test_every_page_token_comes_back(time: float, run_id: str) -> None:
    run = Run(run_id, "f", plain(b"1"), created=time, wake=At(time))
    for query in (Query(), Query(wakes_before=1.0)):
        again = replace(query, after=page_token(run, query))
        assert read_page_token(again) == (time, run_id)


def test_the_same_seed_plays_the_same_inputs() -> None:
    first = list(islice(played("codec", seed=7), 400))
    assert list(islice(played("codec", seed=7), 400)) == first
    assert list(islice(played("codec", seed=8), 400)) != first


def test_an_input_that_fails_is_kept_and_fails_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "codec").mkdir()
    (tmp_path / "codec" / "seed").write_bytes(b"[1,2,3]")
    monkeypatch.setattr(fuzz, "CORPUS", tmp_path)

    def breaks(data: bytes) -> str:
        if b"]]" in data:
            raise KeyError(data)
        return "held"

    monkeypatch.setitem(TARGETS, "codec", breaks)
    with pytest.raises(AssertionError, match=r"seed 3.*KeyError.*failed-"):
        list(islice(played("codec", seed=3), 100_000))
    [kept] = [path for path in (tmp_path / "codec").iterdir() if path.name != "seed"]
    assert b"]]" in kept.read_bytes()
    with pytest.raises(KeyError):
        list(islice(played("codec", seed=4), 2))


def test_the_main_program_plays_every_target(capsys: pytest.CaptureFixture[str]) -> None:
    fuzz.main(0.0, 5)
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in said] == list(TARGETS)
