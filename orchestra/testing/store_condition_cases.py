"""What every store must do with conditions: find what :meth:`RunQuery.matches`, whatever it has to ask for that."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, cast

from msgspec import structs

from orchestra.contracts import Page
from orchestra.model.condition_text import parse_condition
from orchestra.model.conditions import (
    AllOf,
    Among,
    AnyOf,
    Commented,
    Comparison,
    Condition,
    Digest,
    During,
    Labelled,
    Name,
    Not,
    OfOperation,
)
from orchestra.model.filters import RunQuery, Wanted
from orchestra.model.run import Comment, Run, State
from orchestra.testing.builders import a_run, a_worker, an_operation
from orchestra.testing.store_cases import StoreCase
from orchestra.testing.store_race import StoreOpener

_VALUES: tuple[Any, ...] = (
    *(0.1, 1, 1.0, True, False, None, "1", "yes", "", 'It\'s "odd"\n\x00\udce9', math.nan, math.inf, 10**30),
    *([1, "a"], {"a": 1}, -0.0, 2**53 + 1, 1e-05, 1e22, 10**22, 5.0, 1.5e300, "a b"),
)
_EXPRESSIONS = (
    "x = 0.1",
    "x = 1",
    "x != 1",
    "x = true",
    "x = false",
    "x is undefined",
    "x is not undefined",
    "=x = '1'",
    "=x = ''",
    "x < 1",
    "x >= 1",
    "x = nan",
    "x = inf",
    f"x = {10**30}",
    f"x = {2**53 + 1}",
    f"x = {float(2**53)}",
    "x in [0.1, yes, 'yes']",
    "x = 0",
    "x = 5",
    "x = 1e-05",
    "x = 1e22",
    "x = 1.5e300",
    "x in [1e-05, 5, 'a b']",
    "x in []",
    "x = 'a b'",
    "x contains A",
    "x contains 1",
    "'a.b \"c' = 2",
    "#x is undefined",
    "op = train and x = 1 or label contains BEST",
    "not (op = train or x is undefined)",
    "status = error",
    "not status = error and x is not undefined",
    "status in [error, lost]",
    "kind = batch or batch = b1",
    "tags contains good",
    "marked = true",
    "label is undefined",
    "id = run03",
    "run != run03",
    "id = run0",
    "parent = 0000",
    "parent not in [0000000000000000000000000000000, 000]",
    "exit_status = 1",
    "user = ada and host contains TOW",
    "time > 1",
    "started >= 2 and stopped < 5000000",
    "unknown = 1",
    "attr:x = 1",
)


class ConditionCases(StoreCase):
    """``RunQuery.where``."""

    async def test_what_matches_a_condition_is_found(self, opener: StoreOpener) -> None:
        runs = list(_variety())
        async with opener() as store:
            await store.create(runs)
            for condition in _conditions():
                page = await store.query(RunQuery(where=condition))

                expected = {run.id for run in runs if RunQuery(where=condition).matches(run)}
                assert ({run.id for run in page.runs}, page.total) == (expected, len(expected)), condition

    async def test_what_a_condition_leaves_is_sorted_cut_and_counted(self, opener: StoreOpener) -> None:
        runs = list(_variety())
        finals = cast("frozenset[State]", frozenset(("completed", "error")))
        async with opener() as store:
            await store.create(runs)
            for text in (
                "x is not undefined",
                "user = ada",
                "not status = error",
                "x is undefined and user = ada",
            ):
                where = parse_condition(text)
                for query in (
                    RunQuery(where=where, limit=3),
                    RunQuery(where=where, limit=2, offset=1, oldest_first=True),
                    RunQuery(where=where, states=finals, limit=4, offset=3),
                    RunQuery(where=where, kinds=frozenset(("run",)), id_prefix="run1", limit=1),
                    RunQuery(where=where, claim_order=True, limit=3),
                    RunQuery(where=where, batch="b1", limit=0),
                    RunQuery(where=where, ids=tuple(run.id for run in runs[:9]), offset=50),
                ):
                    page = await store.query(query)

                    found = sorted(filter(query.matches, runs), key=query.sort_key)
                    end = None if query.limit is None else query.offset + query.limit
                    expected = [run.id for run in found[query.offset : end]]
                    assert ([run.id for run in page.runs], page.total) == (expected, len(found)), query

    async def test_conditions_put_together_by_chance_find_what_matches(self, opener: StoreOpener) -> None:
        chance, runs = Random(1), list(_variety())
        leaves = [*_conditions(), *_comparisons()]
        async with opener() as store:
            await store.create(runs)
            for _ in range(150):
                query = RunQuery(
                    where=_put_together(leaves, chance, 0),
                    limit=chance.choice((None, 0, 3)),
                    offset=chance.choice((0, 0, 2)),
                    oldest_first=chance.random() < 0.3,
                )
                page, expected = await store.query(query), Page.of(query, runs)

                found = [run.id for run in page.runs]
                assert (found, page.total) == ([run.id for run in expected.runs], expected.total), query

    async def test_a_condition_is_asked_of_runs_as_they_are_now(self, opener: StoreOpener) -> None:
        run = a_run(flags={"x": 1}, label="old", tags=("a",))
        async with opener() as store, opener() as elsewhere:
            (kept,) = await store.create([run])
            changed = structs.replace(kept, flags={"x": 2}, label="new", tags=("b",), marked=True)
            await elsewhere.update([changed])
            for text, expected in (
                ("x = 2", 1),
                ("x = 1", 0),
                ("label contains new", 1),
                ("label contains old", 0),
                ("tags contains b", 1),
                ("tags contains a", 0),
                ("marked = true", 1),
                ("status = staged", 1),
            ):
                assert (await store.query(RunQuery(where=parse_condition(text)))).total == expected, text
            await elsewhere.claim(a_worker(), 60.0, 1, Wanted())
            assert (await store.query(RunQuery(where=parse_condition("status = staged")))).total == 0
            assert (
                await store.query(RunQuery(where=parse_condition("status = pending and x = 2")))
            ).total == 1
            await elsewhere.delete([run.id])
            assert (await store.query(RunQuery(where=parse_condition("x = 2")))).total == 0


def _variety() -> Iterator[Run]:
    operations = (
        an_operation(name="train"),
        an_operation(name="m:train", model="m"),
        an_operation(name="dir/prep.py"),
    )
    states: tuple[State, ...] = ("completed", "error", "lost", "staged")
    comment = Comment(body="Too slow", user="ada", host="tower", time=1)
    for number, value in enumerate(_VALUES * 2):
        yield a_run(
            id=f"run{number:02}",
            operation=operations[number % 3],
            flags={"x": value, "y": number} if number % 5 else {"y": number, 'a.b "c': 2},
            state=states[number % 4],
            kind="batch" if number % 7 == 0 else "run",
            batch="b1" if number % 6 == 0 else None,
            parent=f"{number:032x}" if number % 4 == 0 else None,
            label=(None, "", "Best of all", "worst \udce9")[number % 4],
            tags=(("good",), (), ("good", "bad"))[number % 3],
            comments=(comment,) if number % 8 == 0 else (),
            marked=number % 9 == 0,
            sourcecode_digest=(None, "", "ab12", "cd34")[number % 4],
            exit_code=number % 2,
            user="ada" if number % 2 else "bob",
            host="tower",
            created=number,
            staged=None,
            started=number * 7 % 20 + 1,
            stopped=number * 1_000_000,
            priority=number % 3,
        )


def _conditions() -> Iterator[Condition]:
    yield from map(parse_condition, _EXPRESSIONS)
    for pattern in ("train", "*train", "m:train", "^dir", "prep.py$", "prep.py", "unknown"):
        yield OfOperation(pattern)
    for label in ("est", "Best", "-", "worst \udce9", "\x00"):
        yield Labelled(label)
    for digest in ("", "a", "cd34", "cd345"):
        yield Digest(digest)
    yield Commented("SLOW")
    yield from (During(3, 9), During(None, 9), During(9, None), During(None, None), During(-(2**80), 2**80))
    some = Among(frozenset(("run01", "run20", "unknown", "caf\udce9")))
    undefined = Comparison(Name("x"), "=", None)
    yield from (some, Not(some), Among(frozenset()), AnyOf((some, undefined)), AllOf((Not(undefined), some)))
    yield AllOf((some, Commented("slow"), OfOperation("*")))
    yield Not(AnyOf((During(None, 9), Not(AllOf((some, Digest("a")))))))
    yield from (AllOf(()), AnyOf(()), Not(AllOf(())), AnyOf((AllOf(()), undefined)))


def _comparisons() -> Iterator[Condition]:
    for name in ("x", "y", "status", "label"):
        for value in _VALUES:
            yield from (Comparison(Name(name), operator, value) for operator in ("=", "<", ">=", "contains"))
            yield Comparison(Name(name), "in", [value, 1])


def _put_together(leaves: Sequence[Condition], chance: Random, depth: int) -> Condition:
    kind = chance.random() + 0.2 * depth
    if kind > 0.7:
        return chance.choice(leaves)
    parts = tuple(_put_together(leaves, chance, depth + 1) for _ in range(chance.randrange(1, 4)))
    return Not(parts[0]) if kind < 0.2 else AllOf(parts) if kind < 0.5 else AnyOf(parts)
