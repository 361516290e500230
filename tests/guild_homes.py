"""Guild homes, as releases of Guild have left them."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

STARTED = 1_700_000_000_000_000
SCRIPT = "x = 1.0\nprint('loss: %f' % (x * 2))\n"
OLD, LATER = "0.7", "0.8"
"""Releases that kept the source of a run in a folder of its own: without a manifest, and with one."""
Status = Literal[
    "completed", "error", "terminated", "pending", "staged", "dead", "unmet", "running", "remote"
]

_COMMAND = ["${python_exe}", "-um", "guild.op_main", "train", "--", "__flag_args__"]


def op(command: Sequence[str] = _COMMAND, dest: str = "globals", **more: Any) -> dict[str, Any]:
    """The attribute ``op`` of a run."""
    return {
        "op-cmd": {"cmd-args": list(command), "cmd-env": {}, "cmd-flags": {}, "flags-dest": dest},
        "deps": [],
        "flags-extra": {},
        "label-template": None,
        "output-scalars": None,
        **more,
    }


class GuildHome:
    """A Guild home below ``path``, to be filled."""

    def __init__(self, path: Path, project: Path | None = None) -> None:
        self.path = path
        self.runs = path / "runs"
        self.project = project or path.parent / "project"
        self.runs.mkdir(parents=True)

    def run(
        self,
        run_id: str,
        status: Status = "completed",
        *,
        release: str = "0.9",
        opref: str | None = None,
        source: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        output: Sequence[tuple[int, str]] = ((0, "loss: 2.000000\n"),),
        deleted: bool = False,
        **attributes: Any,
    ) -> Path:
        """Write a run directory; attributes that are None are not there."""
        folder = self.path / "trash" / "runs" if deleted else self.runs
        directory = folder / run_id
        source = {"train.py": SCRIPT} if source is None else source
        before = ".guild/sourcecode/" if release in (OLD, LATER) else ""
        self._write(directory, {f"{before}{path}": text for path, text in source.items()})
        self._write(directory, files or {})
        control = directory / ".guild"
        control.mkdir(exist_ok=True)
        name = f"guildfile:{self.project}/guild.yml abc '' train" if opref is None else opref
        (control / "opref").write_text(name)
        if release != OLD:
            lines = [
                f"s {before}{path} {hashlib.sha1(text.encode()).hexdigest()} {path}\n"
                for path, text in source.items()
            ]
            (control / "manifest").write_text("".join(lines))
        started: dict[str, Any] = {"started": STARTED} if status not in ("pending", "unmet") else {}
        over = {"completed": 0, "error": 3, "terminated": -15}.get(status)
        if over is not None:
            started |= {"exit_status": over, "stopped": STARTED + 2_000_000}
        if over is not None or status == "dead":
            (control / "output").write_text("".join(text for _, text in output))
            (control / "output.index").write_bytes(
                b"".join(
                    struct.pack("!QB", STARTED // 1000 + n, stream) for n, (stream, _) in enumerate(output)
                )
            )
        given = {"id": run_id, "initialized": STARTED - 1_000_000, "flags": {"x": 1.0}, "op": op(), **started}
        self.attributes(directory, {**given, **attributes})
        for marker in {"pending": ["PENDING"], "staged": ["STAGED"], "remote": ["LOCK.remote"]}.get(
            status, []
        ):
            (control / marker).write_text("")
        return directory

    def batch(
        self, run_id: str, trials: Sequence[str], opref: str, *, release: str = "0.9", **attributes: Any
    ) -> Path:
        """Write a batch over ``x``, with links to its trials."""
        outer = self.run(run_id, opref=opref, source={}, flags={}, output=(), **attributes)
        proto = GuildHome(outer / ".guild" / "outer")
        inner = proto.run(
            "proto",
            "pending",
            release=release,
            flags={"x": [1.0, 2.0]},
            opref=f"script:{self.project} '' '' train.py",
        )
        inner.rename(outer / ".guild" / "proto")
        proto.runs.rmdir()
        proto.path.rmdir()
        for trial in trials:
            (outer / trial).symlink_to(f"../{trial}")
        return outer

    def attributes(self, directory: Path, values: Mapping[str, Any]) -> None:
        """Write attributes."""
        folder = directory / ".guild" / "attrs"
        folder.mkdir(exist_ok=True)
        for name, value in values.items():
            if value is not None:
                (folder / name).write_text(yaml.safe_dump(value))

    def _write(self, directory: Path, files: Mapping[str, str]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_text(text)


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """All that is in ``folder``: mode, time and content of everything."""
    found: dict[str, tuple[int, int, bytes]] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path)] = (status.st_mode, status.st_mtime_ns, content)
    return found
