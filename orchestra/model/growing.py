"""A batch with more values, or more trials, than it had: what it has tried stays a part of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from msgspec import structs

from orchestra.errors import FlagError, UserError
from orchestra.model.batch import Batch, Choices, Dimension, Interval
from orchestra.model.decoding import Decoded, encode
from orchestra.model.flag_values import chosen_by
from orchestra.model.operation import FlagValue, Operation
from orchestra.model.references import has_references
from orchestra.model.space import check_trial_count


def grown(batch: Batch, operation: Operation, given: Mapping[str, Decoded], max_trials: int | None) -> Batch:
    """``batch`` with the ``given`` values beside those of its flags, and with ``max_trials`` in all.

    The batch itself where it has all of that.

    Raises:
        FlagError: a flag can't have more values, or there would be too many trials.
        UserError: the batch may have more trials already.
    """
    if refers_to_flags(batch):
        raise FlagError(
            "a batch of values that refer to other flags can't be extended", "Start a new batch instead."
        )
    space, fixed = dict(batch.space), dict(batch.fixed)
    for name, value in given.items():
        if any(name in row for row in batch.rows):
            raise FlagError(
                f"flag '{name}' has its values from the rows of a batch file",
                "Start a new batch with the rows that are to be added.",
            )
        if name in space:
            space[name] = _wider(name, space[name], value)
        elif name in fixed:
            dimension = _wider(name, Choices(values=(fixed[name],)), value)
            if dimension.values != (fixed[name],):
                _forget_implied(operation, fixed, name)
                del fixed[name]
                space[name] = dimension
        else:
            raise FlagError(
                f"flag '{name}' is none of the batch's", "Start a new batch to try values of this flag."
            )
    if max_trials is not None and batch.max_trials is not None and max_trials < batch.max_trials:
        raise UserError(
            f"--max-trials {max_trials} is less than the batch may have already ({batch.max_trials})",
            "Give a greater number, or leave it out.",
        )
    wanted = batch.max_trials if max_trials is None else max_trials
    if (space, wanted) == (batch.space, batch.max_trials):
        return batch
    if batch.expander == "grid":
        check_trial_count(space, wanted, batch.rows)
    return structs.replace(
        batch,
        space={name: space[name] for name in sorted(space)},
        fixed=fixed,
        max_trials=wanted,
        extended=True,
    )


def refers_to_flags(batch: Batch) -> bool:
    """Whether a trial has other values than those listed, as some refer to others: none is known by what it has."""
    listed = [one for one in batch.space.values() if isinstance(one, Choices)]
    return any(has_references(value) for dimension in listed for value in dimension.values)


def _wider(name: str, dimension: Dimension, value: Decoded) -> Any:
    if isinstance(dimension, Interval):
        return _wider_interval(name, dimension, value)
    if isinstance(value, Interval):
        raise FlagError(
            f"flag '{name}' has listed values in this batch: an interval can't be added to them",
            "Give more values, or start a new batch.",
        )
    # As text: values may be lists, and 1, 1.0 and True are three.
    known = {repr(one) for one in dimension.values}
    added: list[FlagValue] = []
    more = cast("Sequence[FlagValue]", value) if isinstance(value, list | tuple) else [value]
    for one in more:
        if has_references(one):
            raise FlagError(
                f"flag '{name}': a value that refers to other flags can't be added to a batch",
                "Give the value itself, or start a new batch.",
            )
        if repr(one) not in known:
            known.add(repr(one))
            added.append(one)
    return Choices(values=(*dimension.values, *added))


def _wider_interval(name: str, interval: Interval, value: Decoded) -> Interval:
    if (
        isinstance(value, Interval)
        and value.low <= interval.low
        and value.high >= interval.high
        and (value.log, value.integer) == (interval.log, interval.integer)
    ):
        return structs.replace(interval, low=value.low, high=value.high)
    raise FlagError(
        f"flag '{name}' is searched over {encode(interval)} in this batch: it can only be given a wider interval",
        "Give one of the same kind that holds the present one, or start a new batch.",
    )


def _forget_implied(operation: Operation, fixed: dict[str, FlagValue], name: str) -> None:
    """Leave out what the value of flag ``name`` has set: each of several values sets its own in each trial."""
    flag = operation.flag(name)
    choice = None if flag is None or not flag.choices else chosen_by(flag, fixed[name])
    for implied, value in (choice.flags if choice else {}).items():
        if fixed.get(implied) == value:
            del fixed[implied]
