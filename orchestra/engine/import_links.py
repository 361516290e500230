"""Links of imported runs that lead out of them: they are made again where what they lead to is here or comes along."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from orchestra.engine.packing import Copy
from orchestra.model.archived import run_of_link
from orchestra.model.links import direct, folder_above
from orchestra.placing.archive_writing import storable
from orchestra.workspace.layout import CONTROL
from orchestra.workspace.run_files import parents_of


class Links:
    """Makes links in the runs below ``ready``.

    Args:
        ready: the folder of the runs that are imported, under the ids that they had.
        runs_dir: that of the runs that are here.
        names: the ids of those that are imported, with those that they get.
    """

    def __init__(self, ready: Path, runs_dir: Path, names: Mapping[str, str]) -> None:
        self._ready = ready
        self._runs_dir = runs_dir
        self._names = names

    def make(self, one: Copy) -> list[str]:
        """Make the links of a run, and return those that can't be made."""
        told = {} if one.manifest is None else one.manifest.outside
        # In the places of some there are copies of what they lead to.
        copied = set(one.packing.files)
        copied |= {parent for file in one.packing.files for parent in parents_of(file)}
        links = {
            path: target
            for path, target in sorted({**one.packing.outside, **told}.items())
            if path not in copied
        }
        return [path for path, target in links.items() if not self._made(one.run.id, path, target)]

    def _made(self, run_id: str, path: str, target: str) -> bool:
        """Make a link to a file of another run, or to a folder that the link is in; False for any other."""
        if not storable(path, as_zip=False) or path.startswith(CONTROL):
            return False
        found = run_of_link(path, target)
        if found is None:
            above = folder_above(path, target)
            return above is not None and self._link(run_id, path, direct(path, above))
        other, rest = found
        root = (self._ready if other in self._names else self._runs_dir) / other
        real, inside = os.path.realpath(root / rest), os.path.realpath(root)
        if (
            not (root / CONTROL).is_dir()
            or not os.path.exists(real)
            or not (real + os.sep).startswith(inside + os.sep)
        ):
            return False
        up = "../" * (path.count("/") + 1)
        return self._link(run_id, path, os.path.join(up + self._names.get(other, other), rest).rstrip("/"))

    def _link(self, run_id: str, path: str, target: str) -> bool:
        """Make a link in a folder that the run has; False if something is there, or no such folder."""
        link = self._ready / run_id / path
        # By way of a link it would be elsewhere, and lead elsewhere.
        folder = os.path.join(os.path.realpath(self._ready), run_id, os.path.dirname(path)).rstrip("/")
        if os.path.realpath(link.parent) != folder or os.path.lexists(link) or not os.path.isdir(folder):
            return False
        os.symlink(target, link)
        return True
