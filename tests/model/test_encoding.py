"""Records lose nothing on the way to bytes and back."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra.model.encoding import decode_run, encode_run
from orchestra.model.run import Run
from orchestra.testing.builders import a_batch, a_full_run, a_run

plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters())
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


@given(st.dictionaries(st.text(max_size=5), values, max_size=4))
def test_flags_come_back_as_they_were(flags: dict[str, Any]) -> None:
    run = a_run(flags=flags)

    assert repr(decode_run(encode_run(run))) == repr(run)


def test_every_field_comes_back() -> None:
    run = a_full_run()

    assert decode_run(encode_run(run)) == run


def test_the_full_run_of_the_builders_has_a_value_in_every_field() -> None:
    run = a_full_run()
    defaults = {field.name: field.default for field in msgspec.structs.fields(Run) if not field.required}
    left = {"schema"} | {name for name, default in defaults.items() if getattr(run, name) == default}

    assert left == {"schema"}


def test_a_record_is_plain_json_where_it_can_be() -> None:
    record = encode_run(a_run(flags={"name": "\u00fc", "none": None}))

    assert json.loads(record, parse_constant=pytest.fail)["flags"] == {"name": "\u00fc", "none": None}
    assert "\u00fc".encode() in record


@pytest.mark.parametrize("odd", [math.nan, math.inf, "caf\udce9"])
def test_odd_values_survive_anywhere(odd: Any) -> None:
    run = a_run(flags={"a": [{"b": odd}]}, batch_spec=a_batch(fixed={"x": odd}), label=str(odd))

    assert repr(decode_run(encode_run(run))) == repr(run)


def test_unknown_fields_are_ignored() -> None:
    run = a_run()
    record = json.loads(encode_run(run)) | {"field_of_tomorrow": 1}

    assert decode_run(json.dumps(record).encode()) == run


@pytest.mark.parametrize("record", [b"", b"{", b"[]", b"{}", b"\xff", b'{"id": 1}'])
def test_what_is_no_run_is_a_value_error(record: bytes) -> None:
    with pytest.raises(ValueError):
        decode_run(record)
