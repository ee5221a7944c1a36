"""What `find` and `count` must do, and what any text or size that is handed over may not do.

Queries are answered from what is stored now; texts are data, wherever they stand.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from .._model import At, Parent, Status, evolve
from .._storage import STALE, Query, Storage
from ..errors import ConfigError, SequentialError
from ._storage_samples import (
    MEGABYTE,
    ODD_TEXTS,
    applied,
    found,
    ids,
    make_run,
    make_step,
    plain,
)

PATTERNS = ["%", "_", "a%", "a_", "*", "?", "a*", "[a]", "\\", "a\\", "^a", "a.", "\U0010ffff"]
"""What means more than itself in the patterns of one storage or another."""


class Finding:
    """`find`, `count`, and hostile values."""

    def test_find_filters_by_each_part(self, storage: Storage) -> None:
        storage.create(make_run("a", created=1.0, flow="f", tags={"t": "1", "u": "1"}))
        storage.create(make_run("b", created=2.0, flow="g", tags={"t": "1"}))
        storage.create(make_run("c", created=3.0, status=Status.FAILED, parent=Parent("a", "0")))
        asked = {
            "everything": (Query(), ["c", "b", "a"]),
            "flow": (Query(flow="g"), ["b"]),
            "statuses": (Query(statuses=[Status.FAILED, Status.RUNNING]), ["c"]),
            "tag": (Query(tags={"t": "1"}), ["b", "a"]),
            "tags": (Query(tags={"t": "1", "u": "1"}), ["a"]),
            "tag of another value": (Query(tags={"t": "2"}), []),
            "since": (Query(since=2.0), ["c", "b"]),
            "before": (Query(before=3.0), ["b", "a"]),
            "between": (Query(since=2.0, before=3.0), ["b"]),
            "parent": (Query(parent="a"), ["c"]),
            "all": (Query(flow="f", statuses=[Status.PAUSED], tags={"t": "1"}, since=0.5), ["a"]),
        }
        for name, (query, expected) in asked.items():
            assert ids(storage.find(query).runs) == expected, name

    def test_find_sees_what_a_commit_changed(self, storage: Storage) -> None:
        run = storage.create(make_run(tags={"a": "1", "b": "1"}))
        run = applied(storage.commit(evolve(run, status=Status.FAILED, tags={"b": "2"}), run))
        assert list(storage.find(Query(statuses=[Status.FAILED], tags={"b": "2"})).runs) == [run]
        assert ids(storage.find(Query(tags={"a": "1"})).runs) == []
        assert ids(storage.find(Query(tags={"b": "1"})).runs) == []
        assert found(storage.load("r1")).run.tags == {"b": "2"}

    def test_a_stale_commit_changes_no_tags(self, storage: Storage) -> None:
        run = storage.create(make_run(tags={"a": "1"}))
        assert storage.commit(evolve(run, tags={"b": "1"}), evolve(run, version=7)) is STALE
        assert ids(storage.find(Query(tags={"a": "1"})).runs) == ["r1"]
        assert ids(storage.find(Query(tags={"b": "1"})).runs) == []

    def test_pages_have_no_gaps_while_runs_are_added(self, storage: Storage) -> None:
        for number in range(25):
            storage.create(make_run(f"r{number:02}", created=float(1 + number // 4)))
        seen: list[str] = []
        query: Query | None = Query(limit=4)
        while query is not None:
            page = storage.find(query)
            assert len(page.runs) <= 4
            seen += ids(page.runs)
            storage.create(make_run(f"new{len(seen)}", created=1000.0 + len(seen)))
            query = Query(limit=4, after=page.next) if page.next else None
        assert len(seen) == len(set(seen))
        assert set(seen) == {f"r{number:02}" for number in range(25)}
        assert seen[0] == "r24"
        assert seen[1:5] == ["r20", "r21", "r22", "r23"]

    def test_the_last_page_names_no_next(self, storage: Storage) -> None:
        storage.create(make_run("a"))
        storage.create(make_run("b"))
        assert storage.find(Query(limit=2)).next is None
        assert storage.find(Query(limit=1)).next is not None
        nothing = storage.find(Query(flow="none"))
        assert (list(nothing.runs), nothing.next) == ([], None)

    def test_what_wakes_before_a_time_is_found_earliest_first(self, storage: Storage) -> None:
        kept = At(70.0)
        storage.create(make_run("late", created=6.0, wake=At(90.0)))
        storage.create(make_run("never", created=5.0, wake=None))
        storage.create(make_run("kept", created=4.0, wake=kept, status=Status.COMPLETED, flow="g"))
        run = storage.create(make_run("moved", created=3.0, wake=At(95.0), tags={"t": "1"}))
        applied(storage.commit(evolve(run, wake=At(60.0)), run))
        storage.create(make_run("b", created=2.0, wake=At(50.0)))
        storage.create(make_run("a", created=1.0, wake=At(50.0), tags={"t": "1"}))
        asked = {
            "of all": (Query(), ["a", "b", "moved", "kept", "late"]),
            "not at the time itself": (Query(wakes_before=90.0), ["a", "b", "moved", "kept"]),
            "none so early": (Query(wakes_before=50.0), []),
            "flow": (Query(flow="g"), ["kept"]),
            "status": (Query(statuses=[Status.PAUSED, Status.FAILED]), ["a", "b", "moved", "late"]),
            "tag": (Query(tags={"t": "1"}), ["a", "moved"]),
            "created": (Query(since=3.0, before=5.0), ["moved", "kept"]),
            "search": (Query(search="l"), ["late"]),
        }
        for name, (part, expected) in asked.items():
            query = replace(part, wakes_before=part.wakes_before or 100.0)
            assert ids(storage.find(query).runs) == expected, name
            assert all_pages(storage, query, 1) == expected, name
            assert sum(storage.count(query).values()) == len(expected), name

    def test_the_page_token_of_another_order_is_refused(self, storage: Storage) -> None:
        for run_id in "ab":
            storage.create(make_run(run_id, wake=At(1.0)))
        newest, waking = Query(limit=1), Query(limit=1, wakes_before=2.0)
        for one, other in ((newest, waking), (waking, newest)):
            with pytest.raises(ConfigError, match="another order"):
                storage.find(replace(other, after=storage.find(one).next))

    @pytest.mark.parametrize("limit", [0, -1, 1001, 2**63, True, "5", 1.5])
    def test_an_impossible_limit_is_refused(self, storage: Storage, limit: int) -> None:
        with pytest.raises(ConfigError, match="limit"):
            storage.find(Query(limit=limit))

    @pytest.mark.parametrize(
        "token",
        ["", "x", "' OR 1=1--", "bm90IGEgdG9rZW4=", "bmFuIHI=", "MS4wIA==", "é", "a" * 5000, "\0"],
    )
    def test_a_forged_page_token_is_refused(self, storage: Storage, token: str) -> None:
        storage.create(make_run())
        with pytest.raises(ConfigError, match="after"):
            storage.find(Query(after=token))
        with pytest.raises(ConfigError, match="after"):
            storage.find(Query(after=token, wakes_before=9.0))

    def test_every_filter_pages_without_a_gap(self, storage: Storage) -> None:
        for number in range(20):
            storage.create(
                make_run(
                    f"r{number:02}",
                    created=1.0,
                    flow="even" if number % 2 == 0 else "odd",
                    tags={"all": "1"},
                    parent=Parent("p", str(number)),
                )
            )
        expected = {f"r{number:02}" for number in range(0, 20, 2)}
        for asked in (Query("even"), Query("even", tags={"all": "1"}), Query("even", parent="p")):
            assert set(all_pages(storage, asked, 3)) == expected
            assert len(all_pages(storage, asked, 3)) == len(expected)

    def test_a_search_is_the_beginning_of_the_id(self, storage: Storage) -> None:
        for number, run_id in enumerate(
            ["order-1", "order-12", "order-2", "Order-1", "my-order-1"]
        ):
            storage.create(make_run(run_id, created=float(1 + number), tags={"t": str(number % 2)}))
        asked = {
            "order-": ["order-2", "order-12", "order-1"],
            "order-1": ["order-12", "order-1"],
            "order-12": ["order-12"],
            "order-123": [],
            "O": ["Order-1"],
            "rder": [],
            "": ["my-order-1", "Order-1", "order-2", "order-12", "order-1"],
        }
        for search, expected in asked.items():
            assert ids(storage.find(Query(search=search)).runs) == expected, search
        assert ids(storage.find(Query(search="order-1", tags={"t": "1"})).runs) == ["order-12"]
        assert ids(storage.find(Query(search="order-", before=3.0)).runs) == ["order-12", "order-1"]
        assert all_pages(storage, Query(search="order-"), 1) == asked["order-"]

    @pytest.mark.parametrize("text", [*PATTERNS, *ODD_TEXTS])
    def test_a_search_has_no_special_characters(self, storage: Storage, text: str) -> None:
        for run_id in ("a", "abc", text, f"{text}b", f"a{text}"):
            storage.create(make_run(run_id))
        everything = ids(storage.find(Query()).runs)
        begin = [run_id for run_id in everything if run_id.startswith(text)]
        assert ids(storage.find(Query(search=text)).runs) == begin

    def test_a_count_is_by_flow_and_status_and_of_all_pages(self, storage: Storage) -> None:
        assert storage.count(Query()) == {}
        for number in range(9):
            storage.create(
                make_run(
                    f"r{number}",
                    created=1.0 + number,
                    flow="even" if number % 2 == 0 else "odd",
                    status=Status.FAILED if number % 3 == 0 else Status.PAUSED,
                    tags={"third": str(number % 3)},
                    parent=Parent("r0", str(number)) if number > 6 else None,
                )
            )
        even = {("even", Status.FAILED): 2, ("even", Status.PAUSED): 3}
        odd = {("odd", Status.FAILED): 1, ("odd", Status.PAUSED): 3}
        failed = {("even", Status.FAILED): 2, ("odd", Status.FAILED): 1}
        one_each = {("even", Status.PAUSED): 1, ("odd", Status.PAUSED): 1}
        after = storage.find(Query(limit=1)).next
        asked: dict[str, tuple[Query, dict[tuple[str, Status], int]]] = {
            "everything": (Query(), even | odd),
            "every page": (Query(limit=1, after=after), even | odd),
            "flow": (Query(flow="even"), even),
            "status": (Query(statuses=[Status.FAILED]), failed),
            "tags": (Query(tags={"third": "1"}), one_each | {("odd", Status.PAUSED): 2}),
            "times": (Query(since=2.0, before=4.0), one_each),
            "parent": (Query(parent="r0"), one_each),
            "search": (Query(search="r8"), {("even", Status.PAUSED): 1}),
            "nothing": (Query(flow="none"), {}),
        }
        for name, (query, expected) in asked.items():
            assert dict(storage.count(query)) == expected, name

    def test_a_count_sees_what_has_changed(self, storage: Storage) -> None:
        run = storage.create(make_run(status=Status.RUNNING))
        run = applied(storage.commit(evolve(run, status=Status.COMPLETED), run))
        assert storage.count(Query()) == {(run.flow, Status.COMPLETED): 1}
        assert storage.purge(run)
        assert storage.count(Query()) == {(run.flow, Status.PURGED): 1}
        assert storage.purge(found(storage.load(run.run_id)).run)
        assert storage.count(Query()) == {}

    # -- hostile values

    @pytest.mark.parametrize("text", ODD_TEXTS)
    def test_odd_texts_are_only_texts(self, storage: Storage, text: str) -> None:
        storage.create(make_run("plain", tags={"k": "v"}))
        run = storage.create(
            make_run("odd", flow=text, tags={text: text}, owner=text, parent=Parent(text, text))
        )
        assert found(storage.load("odd")).run == run
        assert ids(storage.find(Query(flow=text)).runs) == ["odd"]
        assert ids(storage.find(Query(tags={text: text})).runs) == ["odd"]
        assert ids(storage.find(Query(parent=text)).runs) == ["odd"]
        assert storage.count(Query(flow=text)) == {(text, run.status): 1}
        run = applied(
            storage.commit(evolve(run, wake=At(1.0)), run, (make_step(0, position=text),))
        )
        assert list(storage.due(5, [text], 30.0)) == ["odd"]
        assert found(storage.load("odd")).steps[0].position == text

    @pytest.mark.parametrize("text", ODD_TEXTS)
    def test_odd_ids_are_only_ids(self, storage: Storage, text: str) -> None:
        other = storage.create(make_run("other"))
        run = storage.create(make_run(text, wake=At(1.0)))
        assert found(storage.load(text)).run == run
        run = applied(storage.commit(evolve(run, status=Status.COMPLETED), run, (make_step(0),)))
        assert storage.purge(run)
        assert found(storage.load("other")).run == other

    @pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
    def test_a_lone_surrogate_is_stored_or_refused(self, storage: Storage, text: str) -> None:
        try:
            run = storage.create(make_run(text))
        except SequentialError:
            return
        assert found(storage.load(text)).run == run

    @pytest.mark.parametrize("field", ["generation", "fence", "cursor", "stalls"])
    def test_a_huge_number_is_stored_or_refused(self, storage: Storage, field: str) -> None:
        try:
            run = storage.create(evolve(make_run(), **{field: 2**65}))
        except SequentialError:
            assert storage.load("r1") is None
        else:
            assert found(storage.load("r1")).run == run

    def test_large_values_are_kept_whole(self, storage: Storage) -> None:
        run = storage.create(make_run(input=plain(MEGABYTE)))
        storage.commit(
            evolve(run, result=plain(MEGABYTE)), run, (make_step(0, value=plain(MEGABYTE)),)
        )
        loaded = found(storage.load("r1"))
        assert loaded.run.input == loaded.run.result == loaded.steps[0].value == plain(MEGABYTE)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("a", "A"),
            ("\u00e9", "e\u0301"),
            ("a", "\uff41"),
            ("a", "a "),
            ("a", "a."),
            ("1", "01"),
            ("a~1", "a-1"),
            ("a", "a\0"),
            ("a/b", "a%2fb"),
        ],
    )
    def test_ids_that_look_alike_are_different_runs(
        self, storage: Storage, one: str, other: str
    ) -> None:
        first = storage.create(make_run(one), (make_step(0),))
        second = storage.create(make_run(other, op_id="second"))
        assert (first.run_id, second.run_id) == (one, other)
        second = applied(storage.commit(evolve(second, status=Status.COMPLETED), second))
        assert storage.purge(second)
        loaded = found(storage.load(one))
        assert (loaded.run, list(loaded.steps)) == (first, [make_step(0)])

    def test_many_tags_and_long_texts_are_kept(self, storage: Storage) -> None:
        tags = {f"tag{number}": "x" * 200 for number in range(50)}
        run = storage.create(make_run("r" * 128, tags=tags, owner="o" * 10_000))
        assert found(storage.load("r" * 128)).run == run
        assert ids(storage.find(Query(tags=tags)).runs) == ["r" * 128]


def all_pages(storage: Storage, query: Query, limit: int) -> list[str]:
    """Return the ids on all pages of *query*."""
    seen: list[str] = []
    after: str | None = None
    while True:
        page = storage.find(replace(query, after=after, limit=limit))
        assert len(page.runs) <= limit
        seen += ids(page.runs)
        after = page.next
        if after is None:
            return seen
