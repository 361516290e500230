"""Scalars in TensorBoard event files."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra.model.scalars import Scalar
from orchestra.workspace.event_files import EventFile, find_event_files, masked_crc, read_event, refresh
from tests.workspace.event_samples import (
    event,
    record,
    scalar_event,
    simple_value,
    tensor_value,
    varint_field,
)


def lasts(file: EventFile) -> dict[str, tuple[float, int]]:
    return {tag: scalar.point("last") for tag, scalar in file.scalars.items()}


def read(path: Path, *chunks: bytes) -> EventFile:
    path.write_bytes(b"".join(chunks))
    return refresh(path, None)


def test_the_checksum_is_the_one_that_is_documented() -> None:
    # CRC-32C of nine digits, as every description of it gives.
    crc = 0xE3069283
    assert masked_crc(b"123456789") == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_values_of_both_generations_are_read(tmp_path: Path) -> None:
    file = read(
        tmp_path / "events.out.tfevents.1",
        record(bytes((0x1A, 13)) + b"brain.Event:2"),
        scalar_event("loss", 0.5, step=0),
        scalar_event("loss", 0.25, step=10),
        record(event(3, tensor_value("acc", 1, struct.pack("<f", 0.75)))),
        record(event(4, tensor_value("time", 2, struct.pack("<d", 1e100)))),
        record(event(5, tensor_value("count", 9, struct.pack("<q", -7)))),
        record(event(6, tensor_value("in-list", 1, b"", values=struct.pack("<f", 2.0)))),
    )

    assert lasts(file) == {
        "loss": (0.25, 10),
        "acc": (0.75, 3),
        "time": (1e100, 4),
        "count": (-7.0, 5),
        "in-list": (2.0, 6),
    }
    assert file.scalars["loss"] == Scalar(0.5, 0, 0.25, 10, 0.25, 10, 0.5, 0, 0.75, 2)
    assert file.problem == ""


def test_what_is_no_number_is_passed_over(tmp_path: Path) -> None:
    file = read(
        tmp_path / "events.out.tfevents.1",
        record(event(1, tensor_value("histogram", 2, struct.pack("<4d", 1, 2, 3, 4)))),
        record(event(1, tensor_value("text", 7, b"abcd"))),
        record(event(1, tensor_value("_hparams_/experiment", 1, struct.pack("<f", 0.0)))),
        record(varint_field(2, 9)),
    )

    assert (file.scalars, file.problem, file.offset) == ({}, "", file.size)


def test_several_values_of_one_event_and_a_negative_step(tmp_path: Path) -> None:
    data = record(event(-1, simple_value("a", 1.0), simple_value("b", 2.0)))
    assert lasts(read(tmp_path / "tfevents", data)) == {"a": (1.0, -1), "b": (2.0, -1)}


def test_a_file_cut_off_anywhere_tells_what_is_whole_and_the_rest_when_it_comes(tmp_path: Path) -> None:
    records = [scalar_event("loss", float(step), step=step) for step in range(3)]
    data = b"".join(records)
    whole = read(tmp_path / "whole", data)
    path = tmp_path / "tfevents"
    for size in range(len(data)):
        path.write_bytes(data[:size])
        torn = refresh(path, None)
        assert torn.problem == ""
        assert (torn.scalars["loss"].count if torn.scalars else 0) == size // len(records[0])
        path.write_bytes(data)
        assert refresh(path, torn) == whole


@pytest.mark.parametrize("at", [0, 9, 25])
def test_a_damaged_record_ends_the_reading_and_is_told(tmp_path: Path, at: int) -> None:
    good = scalar_event("loss", 1.0, step=1)
    bad = bytearray(scalar_event("loss", 2.0, step=2))
    bad[at] ^= 0xFF

    file = read(tmp_path / "tfevents", good, bytes(bad), good)

    assert file.scalars["loss"].count == 1
    assert f"is damaged at byte {len(good)}" in file.problem


def test_a_file_that_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "tfevents"
    known = read(path, scalar_event("loss", 1.0, step=1))
    path.write_bytes(b"x" * known.size)

    assert refresh(path, known) is known


def test_a_file_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "tfevents"
    known = read(path, *[scalar_event("loss", 1.0, step=step) for step in range(5)])
    path.write_bytes(scalar_event("acc", 2.0, step=7))

    assert lasts(refresh(path, known)) == {"acc": (2.0, 7)}


@settings(deadline=None, derandomize=True)
@given(st.binary(max_size=80))
def test_no_content_does_more_than_being_refused(data: bytes) -> None:
    try:
        read_event(data)
    except ValueError:
        pass


def test_event_files_are_found_below_but_for_links_and_our_own_folder(tmp_path: Path) -> None:
    for name in ("b/events.out.tfevents.2", "a/x/events.out.tfevents.1", "events.out.tfevents.0"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".orchestra").mkdir()
    (tmp_path / ".orchestra/events.out.tfevents.9").touch()
    (tmp_path / "a.tfevents.d").mkdir()
    (tmp_path / "plot_tfevents.py").touch()
    (tmp_path / "given.tfevents.3").symlink_to(tmp_path / "events.out.tfevents.0")
    (tmp_path / "loop").symlink_to(tmp_path)

    found = [(folder, entry.name) for folder, entry in find_event_files(tmp_path, passed_over=".orchestra")]

    assert found == [
        ("", "events.out.tfevents.0"),
        ("a/x", "events.out.tfevents.1"),
        ("b", "events.out.tfevents.2"),
    ]
    assert not list(find_event_files(tmp_path / "none", passed_over=os.curdir))
