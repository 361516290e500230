"""The little of a run that most conditions ask for: a store keeps it beside the record, which is ten times as long."""

from __future__ import annotations

from typing import cast

from msgspec import Struct

from orchestra.model.encoding import decode, encode
from orchestra.model.ids import short_id
from orchestra.model.operation import FlagValue
from orchestra.model.run import Run, RunKind, State


class OperationNames(Struct, array_like=True, gc=False):
    """What an operation is called."""

    name: str
    model: str = ""


class Glimpse(Struct, array_like=True, gc=False):
    """Of these, a run has the same under the same names."""

    operation: OperationNames
    operation_name: str
    flags: dict[str, FlagValue]
    label: str
    """Empty where there is none; so is the digest. No null is quicker to write."""
    sourcecode_digest: str
    tags: tuple[str, ...]
    marked: bool
    # What changes with each step of a run is not kept here, but filled in.
    id: str = ""
    state: State = "staged"
    kind: RunKind = "run"
    batch: str | None = None
    time: int = 0

    @property
    def short_id(self) -> str:
        """See :attr:`Run.short_id`."""
        return short_id(self.id)


def encode_glimpse(run: Run) -> bytes:
    """What a store keeps beside the record of ``run``.

    Raises:
        TypeError, ValueError: it holds a value that no record can hold.
    """
    names = (run.operation.name, run.operation.model)
    seen = (names, run.operation_name, run.flags, run.label or "", run.sourcecode_digest or "")
    return encode((*seen, run.tags, run.marked))


def decode_glimpse(data: bytes) -> Glimpse:
    """The inverse of :func:`encode_glimpse`.

    Raises:
        ValueError: it is none.
    """
    return decode(data, Glimpse)


def as_run(glimpse: Glimpse) -> Run:
    """``glimpse`` for a condition that it is enough for: :func:`~orchestra.model.conditions.is_seen`."""
    return cast(Run, glimpse)
