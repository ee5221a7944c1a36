"""A `Ref` stands for a value that stays in storage: small in histories, whole when it is loaded."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sequential import (
    Pending,
    Registry,
    RunFailed,
    Steps,
    ToolContext,
    ToolError,
    _codec,
    continue_as_new,
    create_flow_executor,
    flow,
    gather,
    sleep,
    tool,
)
from sequential._flow import Flow
from sequential._outcomes import Blocked, Completed, Failed, Paused
from sequential._plain import REF
from sequential._ref import Address, address_of, at, held_by
from sequential._typed import shape_of
from sequential.codecs import Seal
from sequential.errors import (
    NotDecodable,
    NotEncodable,
    RefGone,
    SignalMismatch,
    ValueCorrupt,
    ValueMismatch,
)
from sequential.refs import Ref
from sequential.testing import crash_everywhere, play
from tests.fix_stage import Stage


def result(outcome: object) -> Any:
    assert isinstance(outcome, Completed), outcome
    return outcome.result


@dataclass
class Row:
    number: int
    text: str


def rows(count: int) -> list[Row]:
    return [Row(number, "x" * 100) for number in range(count)]


class Library:
    """Flows and tools that hand large values around."""

    def __init__(self, registry: Registry) -> None:
        self.read = 0

        @tool("t", "rows", registry=registry)
        def some(count: int) -> Ref[list[Row]]:
            self.read += 1
            return Ref(rows(count))

        @tool("t", "count", registry=registry)
        def counted(context: ToolContext, of: Ref[list[Row]]) -> int:
            found = context.load(of)
            assert all(isinstance(row, Row) for row in found)
            return len(found)

        @flow(name="coroutine", registry=registry)
        async def as_coroutine(count: int) -> list[int]:
            ref = await some(count)
            await sleep(60)
            found = await ref.load()
            assert isinstance(found[0], Row)
            return [len(found), await counted(ref)]

        @flow(name="generator", registry=registry)
        def as_generator(count: int) -> Steps[list[int]]:
            ref = yield from some(count)
            yield sleep(60)
            found = yield from ref.load()
            assert isinstance(found[0], Row)
            return [len(found), (yield from counted(ref))]

        @flow(name="child", registry=registry)
        async def child(count: int) -> Ref[list[Row]]:
            return Ref(rows(count))

        @flow(name="parent", registry=registry)
        async def parent(count: int) -> list[int]:
            ref = await child.run_child(count)
            own = await some(count + 1)
            found = await gather(ref.load(), own.load())
            return [await counted(ref), *[len(each) for each in found]]

        self.rows, self.count, self.child, self.parent = some, counted, child, parent
        self.flows = {"coroutine": as_coroutine, "generator": as_generator}


SMALL, LARGE = 3, 1000
"""Rows that travel in the `Ref`, and rows that are kept apart, also from their record."""


@pytest.mark.parametrize("style", ["coroutine", "generator"])
@pytest.mark.parametrize("count", [SMALL, 100, LARGE])
@pytest.mark.parametrize("warm", [0, 9])
def test_a_ref_is_handed_on_and_loaded(any_stage: Stage, style: str, count: int, warm: int) -> None:
    library = Library(any_stage.registry)
    app = any_stage.app(pause="every-step", warm=warm)
    app.start(style, {"count": count}, run_id="r")
    assert any_stage.drive(app, "r") == Completed("r", [count, count])
    first, _, loaded, counted = app.steps("r")
    assert loaded.tool == "sequential.load"
    assert library.read == 1
    if count != SMALL:
        assert counted.input is not None
        assert max(len(each.data) for each in (first.value, counted.input)) < 300
        assert first.value.ref is None
    assert app.replay("r").agrees


def test_a_replay_fetches_nothing_that_the_flow_did_not_load(stage: Stage) -> None:
    library = Library(stage.registry)

    @flow(registry=stage.registry)
    async def forwarding() -> int:
        ref = await library.rows(LARGE)
        await sleep(60)
        return await library.count(ref)

    fetched = list[str]()
    get_value = stage.storage.get_value

    def watched(run_id: str, digest: str) -> bytes:
        fetched.append(digest)
        return get_value(run_id, digest)

    stage.storage.get_value = watched  # type: ignore[method-assign]
    app = stage.app(warm=0)
    app.start(forwarding, run_id="r")
    app.execute("r")
    for _ in range(3):
        assert isinstance(app.execute("r"), Paused)
        assert app.replay("r").agrees
    assert fetched == []
    assert stage.drive(app, "r") == Completed("r", LARGE)
    assert len(fetched) == 1


def test_a_large_result_of_a_child_stays_with_the_child(any_stage: Stage) -> None:
    Library(any_stage.registry)
    app = any_stage.app()
    assert app.run("parent", {"count": LARGE}, run_id="r") == [LARGE, LARGE, LARGE + 1]
    assert len(app.steps("r")[0].value.data) < 300
    assert app.replay("r").agrees
    assert app.replay("r~0").agrees
    assert app.load(result(app.outcome(app.get("r~0")))) == rows(LARGE)


@dataclass
class Page:
    rows: Ref[list[Row]]
    few: Ref[list[Row]]
    count: int


def test_refs_inside_a_result_are_kept_apart_each(any_stage: Stage) -> None:
    registry = any_stage.registry
    library = Library(registry)

    @tool("t", "pages", registry=registry)
    def pages(count: int) -> list[Page]:
        return [Page(Ref(rows(count)), Ref(rows(SMALL)), count), Page(Ref([]), Ref([]), 0)]

    @flow(name="nested", registry=registry)
    def nested(count: int) -> Steps[tuple[Page, Ref[list[Row]]]]:
        first, _ = yield from pages(count)
        yield sleep(60)
        assert (yield from library.count(first.rows)) == count
        assert (yield from library.count(first.few)) == SMALL
        return first, Ref(rows(count + 1))

    app = any_stage.app()
    app.start("nested", {"count": LARGE}, run_id="r")
    assert isinstance(app.execute("r"), Paused)
    assert app.replay("r").agrees
    first, own = result(any_stage.drive(app, "r"))
    assert len(app.steps("r")[0].value.data) < 1_000
    assert held_by(first.few) == [{"number": number, "text": "x" * 100} for number in range(SMALL)]
    places = [address_of(first.rows), address_of(own)]
    assert [place.part for place in places if place] == ["0:value:ref.0", "result:ref.2"]
    assert app.load(first.rows) == rows(LARGE)
    assert app.load(own) == rows(LARGE + 1)
    assert app.replay("r").agrees


def test_a_ref_in_a_set_holds_what_it_holds(stage: Stage) -> None:
    @flow(name="set", registry=stage.registry)
    async def in_a_set() -> set[Ref[str]]:
        return {Ref("x" * 5_000)}

    app = stage.app()
    (only,) = app.run(in_a_set)
    assert held_by(only) == "x" * 5_000


def test_what_is_loaded_once_outlives_the_run_that_kept_it(any_stage: Stage) -> None:
    library = Library(any_stage.registry)

    @flow(name="patient", registry=any_stage.registry)
    async def patient(count: int) -> list[Any]:
        ref = await library.child.run_child(count)
        found = await ref.load()
        await sleep(60)
        try:
            return [len(found), len(await ref.load())]
        except ToolError as error:
            return [len(found), error.type]

    app = any_stage.app(warm=0)
    app.start("patient", {"count": LARGE}, run_id="r")
    app.execute("r")
    app.execute("r~0")
    assert isinstance(app.execute("r"), Paused)
    kept = result(app.outcome(app.get("r~0")))
    app.purge("r~0")
    assert any_stage.drive(app, "r") == Completed("r", [LARGE, "RefGone"])
    with pytest.raises(RefGone, match=r"the result of run 'r~0', which was purged; load it while"):
        app.load(kept)
    app.purge("r~0")
    with pytest.raises(RefGone):
        app.load(kept)


def test_a_tool_that_loads_what_is_gone_fails(any_stage: Stage) -> None:
    library = Library(any_stage.registry)
    app = any_stage.app()

    @flow(name="counting", registry=any_stage.registry)
    async def counting(of: Ref[list[Row]]) -> int:
        return await library.count(of)

    ref = app.run("child", {"count": LARGE}, run_id="c")
    assert app.run("counting", {"of": ref}) == LARGE
    app.purge("c")
    with pytest.raises(RunFailed, match=r"t\.count failed: RefGone: a Ref stands for"):
        app.run("counting", {"of": ref})


def test_a_value_that_is_lost_blocks_and_heals(stage: Stage) -> None:
    Library(stage.registry)
    app = stage.app(warm=0)
    app.start("coroutine", {"count": LARGE}, run_id="r")
    app.execute("r")
    stage.clock.advance(61)
    get_value = stage.storage.get_value

    def lost(run_id: str, digest: str) -> bytes:
        raise ValueCorrupt(run_id, digest, "it is missing")

    stage.storage.get_value = lost  # type: ignore[method-assign]
    outcome = app.execute("r")
    assert isinstance(outcome, Blocked)
    assert outcome.reason == "corrupt"
    stage.storage.get_value = get_value  # type: ignore[method-assign]
    app.redrive("r")
    assert app.execute("r") == Completed("r", [LARGE, LARGE])


# -- codecs, places, other storages ----------------------------------------------------------------


@pytest.mark.parametrize("payload", [["zlib"], ["seal:required"], ["zlib", "seal"]])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_ref_goes_through_the_codecs(
    stage: Stage, tmp_path: Path, payload: list[str], elsewhere: bool
) -> None:
    Library(stage.registry)
    values = f"sqlite:///{tmp_path}/values.db" if elsewhere else ""
    app = stage.app(plugins=[Seal({"a": b"k" * 32})], payload=payload, values=values)
    assert app.run("parent", {"count": LARGE}, run_id="r") == [LARGE, LARGE, LARGE + 1]
    kept = result(app.outcome(app.get("r~0")))
    assert app.load(kept) == rows(LARGE)
    assert app.replay("r~0").agrees
    again = app.fork("r", "3", new_id="again")
    assert app.execute(again) == Completed("again", [LARGE, LARGE, LARGE + 1])
    stored = b"".join(stage.counted._values.values())
    assert b"xxxxxxxxxx" not in stored
    assert (stored == b"") is elsewhere


def test_a_sealed_value_cannot_be_read_as_that_of_another_step(stage: Stage) -> None:
    library = Library(stage.registry)
    app = stage.app(plugins=[Seal({"a": b"k" * 32})], payload=["seal"])
    app.run("child", {"count": LARGE}, run_id="c")
    address = address_of(result(app.outcome(app.get("c"))))
    assert address is not None
    with pytest.raises(NotDecodable):
        app.load(at(address._replace(part="0:value:ref")))
    assert library.read == 0


@pytest.mark.parametrize("style", ["coroutine", "generator"])
def test_over_five_methods_a_ref_holds_its_value(style: str) -> None:
    registry, kept = Registry(), dict[str, Any]()
    library = Library(registry)

    class Shelf:
        def get(self, run_id: str) -> Any:
            return kept.get(run_id)

        def set(self, run_id: str, state: Any) -> None:
            kept[run_id] = state

        def delete(self, run_id: str) -> None:
            kept.pop(run_id, None)

        def get_result(self, run_id: str, step: int) -> Any:
            return kept.get(f"{run_id}/{step}")

        def set_result(self, run_id: str, step: int, value: Any) -> None:
            kept[f"{run_id}/{step}"] = value

    @flow(name="reading", registry=registry)
    async def reading() -> int:
        found = await (await library.rows(LARGE)).load()
        return len(found) + await library.count(Ref(rows(1)))

    executor = create_flow_executor(Shelf(), registry=registry)
    got: Any = executor.execute(reading, "r", {})
    while got != LARGE + 1:
        assert set(got) == {"paused", "step"}
        got = executor.execute(reading, "r", {})
    assert library.read == 1


# -- repair ----------------------------------------------------------------------------------------


def test_a_retry_and_a_continued_run_still_have_what_was_kept(any_stage: Stage) -> None:
    library = Library(any_stage.registry)
    broken = [True]

    @flow(name="renewed", registry=any_stage.registry)
    async def renewed(of: Ref[list[Row]] | None = None) -> int:
        if of is None:
            ref = await library.rows(LARGE)
            if broken[0]:
                raise ValueError("not yet")
            await continue_as_new({"of": ref})
        assert of is not None
        return await library.count(of)

    app = any_stage.app(warm=0)
    app.start("renewed", run_id="r")
    assert isinstance(app.execute("r"), Failed)
    broken[0] = False
    app.retry("r")
    assert any_stage.drive(app, "r") == Completed("r", LARGE)
    assert (app.get("r").generation, library.read) == (2, 1)


@pytest.mark.parametrize(
    "edit",
    [Ref([Row(1, "a")]), Ref(rows(LARGE)), [Row(1, "a")], [{"number": 1, "text": "a"}]],
    ids=["held", "large", "rows", "json"],
)
def test_a_fork_takes_a_ref_or_what_it_could_hold(any_stage: Stage, edit: Any) -> None:
    Library(any_stage.registry)
    app = any_stage.app()
    app.run("parent", {"count": LARGE}, run_id="r")
    app.fork("r", "0", edit=(edit,), new_id="f")
    count = LARGE if edit == Ref(rows(LARGE)) else 1
    assert app.execute("f") == Completed("f", [count, count, LARGE + 1])
    assert app.replay("f").agrees


# -- from outside ----------------------------------------------------------------------------------


def test_plain_json_stands_for_a_ref_and_never_for_an_address(any_stage: Stage) -> None:
    library = Library(any_stage.registry)

    @flow(name="counting", registry=any_stage.registry)
    async def counting(of: Ref[Any]) -> Any:
        return await of.load()

    app = any_stage.app()
    kept = app.run("child", {"count": LARGE}, run_id="secret")
    tagged = _codec.encode(kept)
    assert app.run("counting", {"of": [1, 2]}) == [1, 2]
    # What a client sends is data, whatever it looks like.
    forged = _codec.decode_plain(b'{"of":%s}' % tagged)
    assert app.run("counting", forged)["$"] == REF
    assert library.read == 0


def test_an_answer_is_checked_as_what_the_ref_holds(stage: Stage) -> None:
    @tool("t", "asked", registry=stage.registry)
    def asked() -> Ref[list[Row]] | Pending:
        return Pending("answer")

    @flow(name="asking", registry=stage.registry)
    async def asking() -> int:
        ref = await asked()
        assert isinstance(ref, Ref)
        return len(await ref.load())

    app = stage.app()
    app.start("asking", run_id="r")
    app.execute("r")
    with pytest.raises(SignalMismatch, match="number"):
        app.signal("r", "answer", [{"number": "one", "text": "a"}])
    assert app.signal("r", "answer", [{"number": 1, "text": "a"}])
    assert app.execute("r") == Completed("r", 1)


def test_a_flow_is_played_with_fakes_that_return_refs_or_plain_values() -> None:
    registry = Registry()
    library = Library(registry)
    for fake in (lambda count: Ref(rows(count)), rows):
        played = play(
            library.parent, {"count": 100}, tools={library.rows: fake, library.count: lambda of: 5},
            registry=registry,
        )  # fmt: skip
        assert played.result == [5, 100, 101]


# -- the value itself ------------------------------------------------------------------------------


def test_refs_are_parts_of_other_values() -> None:
    shape = shape_of(dict[str, Ref[Row]], where="here")
    held: dict[str, Ref[Row]] = {"a": Ref(Row(1, "b"))}
    data = _codec.encode(held)
    assert data == b'{"a":{"$":"held","v":[{"number":1,"text":"b"}]}}'
    found = shape.read(_codec.decode(data))
    assert found == {"a": Ref({"number": 1, "text": "b"})}
    assert shape.read({"a": {"number": 1, "text": "b"}}) == found
    with pytest.raises(ValueMismatch, match=r"\$\[...\]"):
        shape.read({"a": 7})
    several = {Ref(1), at(ADDRESS)}
    assert _codec.decode(_codec.encode(several)) == several


def test_a_ref_says_what_it_stands_for() -> None:
    assert repr(Ref([1])) == "Ref([1])"
    assert repr(at(ADDRESS)) == "<Ref to step 0 of run 'r', 12,000 bytes>"
    step = at(ADDRESS).load()
    step.asked = True  # or it warns
    assert repr(step).startswith("load of <Ref to step 0")
    assert Ref(1) != Ref(2)
    assert Ref(1) != 1
    with pytest.raises(ValueError, match="load it in a flow"):
        held_by(at(ADDRESS))


ADDRESS = Address("r", 0, "0:value:ref", "ab" * 32, 12_000, ("zlib",))


@pytest.mark.parametrize(
    "damage",
    ['{"$":"ref","v":{}}', '{"$":"ref","v":[]}', '{"$":"held","v":[]}', '{"$":"held","v":[1,2]}',
     '{"$":"ref","v":{"run_id":1,"generation":0,"part":"","digest":"","size":0,"codecs":[]}}',
     '{"$":"ref","v":{"run_id":"r","generation":0,"part":"","digest":"","size":0,"codecs":[1]}}'],
)  # fmt: skip
def test_a_damaged_ref_is_not_decodable(damage: str) -> None:
    with pytest.raises(NotDecodable):
        _codec.decode(damage.encode())


def test_what_a_ref_holds_must_be_storable() -> None:
    with pytest.raises(NotEncodable, match="object"):
        _codec.encode(Ref({"a": object()}))
    deep: Any = 1
    for _ in range(80):
        deep = Ref(deep)
    with pytest.raises(NotEncodable, match="levels deep"):
        _codec.encode(deep)


# -- crashes ---------------------------------------------------------------------------------------


def test_a_lost_process_leaves_no_ref_to_nothing() -> None:
    registry = Registry()
    library = Library(registry)
    fakes = {library.rows: lambda count: Ref(rows(count)), library.count: lambda of: 7}
    survived = crash_everywhere(library.parent, {"count": 100}, tools=fakes, registry=registry)
    assert survived.played.result == [7, 100, 101]


def told(seed: int, registry: Registry) -> Flow[..., list[int]]:
    """Return a flow that does random things with refs, the same for the same *seed*."""
    library = Library(registry)
    rng = random.Random(seed)
    plan = [rng.choice(["tool", "child", "load", "both", "count", "sleep"]) for _ in range(6)]

    @flow(name="told", registry=registry)
    async def random_told() -> list[int]:
        refs, got = [await library.rows(SMALL)], list[int]()
        for number, act in enumerate(plan, 100):
            last = refs[number % len(refs)]
            if act == "tool":
                refs.append(await library.rows(number))
            elif act == "child":
                refs.append(await library.child.run_child(number))
            elif act == "load":
                got.append(len(await last.load()))
            elif act == "both":
                got.extend(map(len, await gather(last.load(), refs[0].load())))
            elif act == "count":
                got.append(await library.count(last))
            else:
                await sleep(5)
        return [*got, *[len(await ref.load()) for ref in refs]]

    return random_told


@pytest.mark.parametrize("seed", range(3))
def test_random_flows_lose_no_ref_wherever_their_process_is_lost(seed: int) -> None:
    registry = Registry()
    fakes: dict[Any, Any] = {"t.rows": lambda count: Ref(rows(count)), "t.count": lambda of: 7}
    survived = crash_everywhere(told(seed, registry), tools=fakes, registry=registry)
    assert survived.played.result
    assert len(survived.crashes) > 12
