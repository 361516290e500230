from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra.errors import RunBroken
from orchestra.workspace import manifest, source
from orchestra.workspace.copies import copy_selection
from orchestra.workspace.manifest import ManifestEntry

from .test_source import fill

names = st.binary(min_size=1).map(os.fsdecode)
entries = st.builds(
    ManifestEntry, kind=st.just("s"), path=names, digest=st.sampled_from(["", "ab12"]), origin=names
)


@given(entries=st.lists(entries, max_size=5).map(tuple))
def test_what_is_written_is_read_whatever_files_are_called(entries: tuple[ManifestEntry, ...]) -> None:
    data = manifest.render(entries)
    assert manifest.parse(data) == entries
    assert data.count(b"\n") == len(entries)


def test_a_selection_tells_where_each_file_comes_from(tmp_path: Path) -> None:
    fill(tmp_path / "project", "say.py", "lib/a b.py")
    selection = source.select(tmp_path / "project")
    digest = "b9e68e1bea3e5b19ca6b2f98b73a54b73daafaa250484902e09982e07a12e733"
    assert selection.manifest.decode() == (
        f"s lib/a%20b.py {digest} {tmp_path}/project/lib/a%20b.py\ns say.py {digest} {tmp_path}/project/say.py\n"
    )


def test_trials_have_the_manifest_of_their_batch(tmp_path: Path) -> None:
    fill(tmp_path / "project", "say.py")
    selection = source.select(tmp_path / "project")
    copy_selection(selection, tmp_path / "batch")
    manifest.write_manifest(tmp_path / "batch", selection.manifest)
    assert source.select_copied(tmp_path / "batch").manifest == selection.manifest
    (entry,) = manifest.read_manifest(tmp_path / "batch")
    assert entry.origin == str(tmp_path / "project" / "say.py")


def test_a_run_without_a_manifest_has_no_entries_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    assert manifest.read_manifest(tmp_path) == ()
    manifest.write_manifest(tmp_path, b"nonsense\n")
    with pytest.raises(RunBroken, match=r"\.orchestra/manifest' is damaged"):
        manifest.read_manifest(tmp_path)
