from __future__ import annotations

from pathlib import Path

import pytest

from orchestra.errors import ResolveError
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
