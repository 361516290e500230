from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest

from orchestra.errors import ResolveError
from orchestra.placing import copying
from orchestra.placing.copying import copy_into


def test_a_file_that_grows_faster_than_it_is_copied_is_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * (3 << 20))
    (tmp_path / "run").mkdir()

    with pytest.raises(ResolveError, match="is changing while it is copied"):
        for _ in copy_into(log, tmp_path / "run" / "log"):
            with log.open("ab") as file:
                file.write(b"x" * (2 << 20))

    assert list((tmp_path / "run").iterdir()) == []


def test_blocks_are_shared_where_the_file_system_can_and_what_is_written_later_is_no_part_of_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def share(source: int, target: int) -> bool:
        os.pwrite(target, os.pread(source, 1 << 30, 0), 0)
        return True

    monkeypatch.setattr(copying, "clone", share)
    content = os.urandom(3 << 20)
    log, target = tmp_path / "log", tmp_path / "run" / "log"
    log.write_bytes(content)
    log.chmod(0o640)
    target.parent.mkdir()

    steps = copy_into(log, target)
    assert next(steps) == ""
    with log.open("ab") as file:
        file.write(b"more")
    *_, digest = steps

    assert digest == sha256(content).hexdigest()
    assert target.read_bytes() == content
    assert os.listdir(target.parent) == ["log"]
    assert target.stat().st_mode & 0o777 == 0o640


def test_a_file_that_changes_while_it_is_copied_is_copied_again(tmp_path: Path) -> None:
    source, target = tmp_path / "data", tmp_path / "run" / "data"
    source.write_bytes(b"x" * (3 << 20))
    target.parent.mkdir()

    steps = copy_into(source, target)
    next(steps)
    source.write_bytes(b"new")
    *_, digest = steps

    assert target.read_bytes() == b"new"
    assert digest == sha256(b"new").hexdigest()
    assert os.listdir(target.parent) == ["data"]
