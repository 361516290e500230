from __future__ import annotations

import os
import struct
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra.errors import HomeError
from orchestra.workspace.output import (
    LINE_LIMIT,
    OutputFollower,
    OutputWriter,
    WholeLines,
    read_gap,
    read_output,
)
from orchestra.workspace.tail import offset_of_last

from .samples import run_python

pieces = st.lists(st.tuples(st.integers(0, 1), st.binary(min_size=1, max_size=30)), max_size=30)


def index_of(attempt_dir: Path) -> list[tuple[int, int, int]]:
    """Offset, time and stream of each entry."""
    return list(struct.iter_unpack(">QQB", (attempt_dir / "output.index").read_bytes()))


def tagged(chunks: list[tuple[int, bytes]]) -> list[tuple[int, int]]:
    """Each byte with its stream: what chunks say, however they are cut."""
    return [(stream, byte) for stream, data in chunks for byte in data]


@settings(max_examples=60, deadline=None)
@given(pieces=pieces, data=st.data())
def test_every_byte_is_followed_once_with_its_stream_however_reads_and_writes_mix(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("attempt")
    seen: list[tuple[int, bytes]] = []
    with OutputWriter(directory) as writer, OutputFollower(directory) as follower:
        for stream, piece in pieces:
            writer.write(stream, piece)
            if data.draw(st.booleans()):
                seen += follower.read_new(data.draw(st.integers(1, 40)))
        while chunks := follower.read_new(data.draw(st.integers(1, 40))):
            assert all(part for _, part in chunks)
            seen += chunks
        assert follower.size == follower.offset == writer.size
    assert tagged(seen) == tagged(pieces)
    assert b"".join(read_output(directory)) == b"".join(piece for _, piece in pieces)


@settings(max_examples=60, deadline=None)
@given(pieces=pieces, at=st.integers(0, 400))
def test_a_follower_goes_on_from_a_saved_offset(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[int, bytes]], at: int
) -> None:
    directory = tmp_path_factory.mktemp("attempt")
    with OutputWriter(directory) as writer:
        for stream, piece in pieces:
            writer.write(stream, piece)
    offset = min(at, writer.size)
    with OutputFollower(directory, offset) as follower:
        assert tagged(follower.read_new()) == tagged(pieces)[offset:]


def test_output_that_is_not_there_yet_is_awaited(tmp_path: Path) -> None:
    with OutputFollower(tmp_path / "later") as follower:
        assert follower.read_new() == []
        assert follower.size == 0
        (tmp_path / "later").mkdir()
        assert follower.read_new() == []
        (tmp_path / "later" / "output").write_bytes(b"x")
        assert follower.read_new() == [(0, b"x")]
    assert list(read_output(tmp_path)) == []


def test_output_that_can_not_be_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "output").mkdir()
    with pytest.raises(HomeError, match=r"Is a directory: '.*output'"):
        OutputFollower(tmp_path).read_new()
    with pytest.raises(HomeError, match="Is a directory"):
        list(read_output(tmp_path))


def test_output_that_is_cut_short_is_followed_from_its_new_beginning(tmp_path: Path) -> None:
    with OutputWriter(tmp_path) as writer, OutputFollower(tmp_path) as follower:
        writer.write(1, b"before")
        assert follower.read_new() == [(1, b"before")]
        os.truncate(tmp_path / "output", 0)
        assert follower.read_new() == []
        writer.write(1, b"a")
        assert follower.read_new() == [(0, b"a")]
        writer.write(1, b"fter")
        assert follower.read_new() == [(0, b"fter")]


def test_output_that_is_moved_away_is_followed_and_then_its_successor(tmp_path: Path) -> None:
    with OutputWriter(tmp_path) as writer, OutputFollower(tmp_path) as follower:
        writer.write(0, b"one")
        assert follower.read_new() == [(0, b"one")]
        (tmp_path / "output").rename(tmp_path / "output.1")
        writer.write(0, b"two")
        assert follower.read_new() == [(0, b"two")]
        assert follower.read_new() == []
        (tmp_path / "output").write_bytes(b"new file")
        assert follower.read_new() == [(0, b"new file")]
        (tmp_path / "output").unlink()
        assert follower.read_new() == []


def test_a_torn_index_entry_is_left_until_it_is_whole(tmp_path: Path) -> None:
    with OutputWriter(tmp_path) as writer:
        writer.write(0, b"out")
        writer.write(1, b"err")
    index = (tmp_path / "output.index").read_bytes()
    assert [(offset, stream) for offset, _, stream in index_of(tmp_path)] == [(0, 0), (3, 1)]
    for size in range(len(index) + 1):
        (tmp_path / "output.index").write_bytes(index[:size])
        assert b"".join(data for _, data in OutputFollower(tmp_path).read_new()) == b"outerr"


def test_output_without_an_index_is_of_both_streams(tmp_path: Path) -> None:
    (tmp_path / "output").write_bytes(b"x" * 100)
    with OutputFollower(tmp_path, 40) as follower:
        assert follower.read_new(limit=50) == [(0, b"x" * 50)]
        assert follower.read_new(limit=50) == [(0, b"x" * 10)]


@pytest.mark.parametrize("start", [0, 1, 4999 * 3, 9999 * 3 + 2])
def test_a_long_index_is_read_from_any_place(tmp_path: Path, start: int) -> None:
    count = 10_000
    entries = [(3 * n).to_bytes(8, "big") + (n).to_bytes(8, "big") + bytes((n % 2,)) for n in range(count)]
    (tmp_path / "output.index").write_bytes(b"".join(entries))
    (tmp_path / "output").write_bytes(b"abc" * count)
    with OutputFollower(tmp_path, start) as follower:
        streams = [stream for stream, data in follower.read_new() for _ in data]
    assert streams == [at // 3 % 2 for at in range(start, 3 * count)]


def test_many_small_writes_of_one_stream_need_few_index_entries(tmp_path: Path) -> None:
    with OutputWriter(tmp_path) as writer:
        for _ in range(2000):
            writer.write(0, b"line\n")
    entries = index_of(tmp_path)
    assert len(entries) < 200
    assert all(later[1] - entry[1] >= 50_000 for entry, later in pairwise(entries))


def test_a_writer_goes_on_where_the_output_ends(tmp_path: Path) -> None:
    for _ in range(2):
        with OutputWriter(tmp_path) as writer:
            writer.write(1, b"abc")
            writer.sync()
    assert writer.size == 6
    assert OutputFollower(tmp_path).read_new() == [(1, b"abcabc")]


def test_a_full_disk_cuts_the_output_and_never_fails_the_attempt(tmp_path: Path) -> None:
    code = """if 1:
        import resource, sys
        from pathlib import Path
        from orchestra.workspace.output import OutputWriter
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        with OutputWriter(Path(sys.argv[1])) as writer:
            for _ in range(10):
                writer.write(0, b"x" * 300)
            print(writer.size, writer.truncated)
    """
    done = run_python(code, tmp_path)
    assert done.stdout == "1000 output truncated at 1000: File too large\n", done.stderr
    assert (tmp_path / "output").read_bytes() == b"x" * 1000


@settings(max_examples=100, deadline=None)
@given(
    chunks=st.lists(st.tuples(st.integers(0, 1), st.text("ab\r\n\0").map(str.encode))),
    limit=st.integers(1, 6) | st.just(LINE_LIMIT),
)
def test_lines_are_whole_per_stream_and_nothing_is_lost(chunks: list[tuple[int, bytes]], limit: int) -> None:
    whole = WholeLines(limit)
    blocks = [(stream, whole.feed(stream, data)) for stream, data in chunks] + whole.finish()

    assert all(block.endswith(b"\n") for _, block in blocks if block)
    for stream in (0, 1):
        written = b"".join(data for tag, data in chunks if tag == stream)
        shown = b"".join(block for tag, block in blocks if tag == stream)
        assert shown.replace(b"\n", b"") == written.replace(b"\n", b"")
        if limit == LINE_LIMIT:
            assert shown == (written if written.endswith(b"\n") or not written else written + b"\n")


def test_a_line_without_end_is_passed_on_in_pieces(tmp_path: Path) -> None:
    whole = WholeLines()
    shown = sum(len(whole.feed(0, b"x" * 1000).replace(b"\n", b"")) for _ in range(1000))
    assert shown >= 1_000_000 - LINE_LIMIT
    assert whole.feed(1, b"other\nrest") == b"other\n"
    assert whole.finish() == [(0, b"x" * (1_000_000 - shown) + b"\n"), (1, b"rest\n")]
    assert whole.finish() == []


HEAD, TAIL, SIZE = 300 << 10, 2 << 20, 5 << 19
"""Of an output whose middle was given up: up to here, from here on, and all of it."""
NOTICE = b"\n... %d bytes of output were not kept ...\n"


@pytest.fixture
def holed(tmp_path: Path) -> Path:
    """An attempt whose output has lost its middle. The lines at both ends are numbered."""
    lines = b"".join(b"%07d\n" % number for number in range(SIZE // 8))
    (tmp_path / "output").write_bytes(lines[:HEAD] + bytes(TAIL - HEAD) + lines[TAIL:])
    (tmp_path / "output.gap").write_text(f"{HEAD} {TAIL}\n")
    return tmp_path


def test_a_reader_passes_over_what_was_given_up_and_says_so(holed: Path) -> None:
    whole = (holed / "output").read_bytes()
    wanted = whole[:HEAD] + NOTICE % (TAIL - HEAD) + whole[TAIL:]

    with OutputFollower(holed) as follower:
        followed = b"".join(
            data for chunks in iter(lambda: follower.read_new(77_777), []) for _, data in chunks
        )
        assert follower.offset == follower.size == SIZE

    assert followed == b"".join(read_output(holed)) == wanted


def test_streams_are_known_again_behind_what_was_given_up(holed: Path) -> None:
    entries = [(0, 1, 0), (TAIL - 10, 2, 1), (TAIL + 10, 3, 0)]
    (holed / "output.index").write_bytes(b"".join(struct.pack(">QQB", *entry) for entry in entries))

    with OutputFollower(holed, HEAD) as follower:
        ((_, notice),) = follower.read_new()
        chunks = follower.read_new()

    assert notice == NOTICE % (TAIL - HEAD)
    assert [(stream, len(data)) for stream, data in chunks] == [(1, 10), (0, SIZE - TAIL - 10)]


def test_what_is_given_up_while_a_reader_is_in_it_is_counted_from_there(holed: Path) -> None:
    gap = holed / "output.gap"
    gap.unlink()
    with OutputFollower(holed) as follower:
        while follower.offset < 1 << 20:
            follower.read_new(1 << 18)
        gap.write_text(f"{HEAD} {TAIL}\n")
        assert follower.read_new() == [(0, NOTICE % (TAIL - (1 << 20)))]


def test_a_note_of_what_was_given_up_that_is_torn_means_nothing(holed: Path) -> None:
    (holed / "output.gap").write_text("12")

    assert b"".join(read_output(holed)) == (holed / "output").read_bytes()


def test_the_last_lines_of_an_output_begin_behind_what_was_given_up(holed: Path) -> None:
    lines = (SIZE - TAIL) // 8

    assert offset_of_last(holed, 3) == SIZE - 24
    assert offset_of_last(holed, lines + 1000) == TAIL


def test_what_executes_in_this_process_keeps_the_ends_of_a_large_output_too(tmp_path: Path) -> None:
    lines = b"".join(b"%07d\n" % number for number in range(1 << 19))
    with OutputWriter(tmp_path, 1 << 20) as writer:
        for start in range(0, len(lines), 1 << 16):
            writer.write(0, lines[start : start + (1 << 16)])
        size, missing = writer.size, writer.missing

    gap = read_gap(tmp_path)
    assert gap is not None
    begin, end = gap
    assert (tmp_path / "output").stat().st_blocks * 512 <= (1 << 20) + (128 << 10)
    assert b"".join(read_output(tmp_path)) == lines[:begin] + NOTICE % (end - begin) + lines[end:]
    assert (size, missing) == (
        len(lines),
        f"{end - begin} bytes in the middle of its output were given up: it is larger than 1048576",
    )
