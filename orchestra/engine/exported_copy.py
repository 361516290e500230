"""The copy of a run that is in an archive, a directory, when the run is exported there once more."""

from __future__ import annotations

import hashlib
from pathlib import Path

from msgspec import structs

from orchestra.engine.archived import manifest_path
from orchestra.engine.packing import RECORD, Copy, is_same, look_at
from orchestra.engine.session import Session
from orchestra.errors import OrchestraError
from orchestra.model import versions
from orchestra.model.archived import MANIFEST, RunManifest, with_word_of
from orchestra.model.encoding import encode
from orchestra.model.run import Run
from orchestra.workspace import records
from orchestra.workspace.codec import read_record
from orchestra.workspace.durable import write_atomic
from orchestra.workspace.layout import CONTROL


async def same_run_in(session: Session, archive: Path, run: Run) -> Copy | None:
    """The copy of ``run`` in an archive; None if what is there is another one, or can't be read.

    Raises:
        OSError: something can't be read.
    """
    folder = archive / run.id
    try:
        there = await look_at(records.read_run(folder), folder, archive)
        there.manifest = read_record(manifest_path(archive, run.id), RunManifest)
        here = await look_at(run, session.directory(run), session.layout.runs_dir)
        return there if is_same(there, here) else None
    except (OrchestraError, FileNotFoundError):
        return None


def bring_word(there: Copy, run: Run, *, fsync: bool) -> None:
    """Let what people say of ``run`` be said of its copy in an archive, too.

    Raises:
        HomeError, StoreUnavailable: it can't be written.
    """
    control = there.packing.run_dir / CONTROL
    revision = max(run.revision, there.run.revision)
    changed = structs.replace(with_word_of(there.run, run), revision=revision, schema=versions.RUN)
    record = encode(changed) + b"\n"
    if there.manifest is not None:
        # Killed in between: the old record counts as whole, too.
        files = {**there.manifest.files, RECORD: hashlib.sha256(record).hexdigest()}
        before = there.packing.files[RECORD]
        manifest = structs.replace(there.manifest, files=files, record_before=before)
        write_atomic(control / MANIFEST, encode(manifest) + b"\n", fsync=fsync)
    write_atomic(there.packing.run_dir / RECORD, record, fsync=fsync)
