"""What archives of runs hold beside the runs, and what a run is in an archive and comes out of one as."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Mapping

from msgspec import Struct, structs

from orchestra.errors import UserError
from orchestra.model import versions
from orchestra.model.encoding import decode, encode
from orchestra.model.marks import MARK
from orchestra.model.redaction import MARKS
from orchestra.model.run import Imported, Run, State

INDEX = "orchestra-archive.json"
"""The file that tells what an archive is, beside the folders of its runs."""
MANIFEST = "exported.json"
"""The file among the records of an archived run that tells what the run consists of."""
SAID = ("label", "tags", "comments", "marked")
"""What people say of a run: two copies of one may differ in it."""


class ArchiveIndex(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an archive is."""

    format: int
    created: int = 0
    """Microseconds since the epoch."""
    description: str = ""
    runs: dict[str, str] = {}
    """The SHA-256 of each run's manifest; of a directory, to which runs may be added, nothing."""


class RunManifest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an archived run consists of. Paths are relative to the run's directory."""

    format: int
    files: dict[str, str] = {}
    """The SHA-256 of each."""
    links: dict[str, str] = {}
    """Symbolic links to what the run has itself, with their targets."""
    outside: dict[str, str] = {}
    """Symbolic links that lead elsewhere, ``../ID/...`` to a file of another run, or to a folder that they are in."""
    followed: dict[str, str] = {}
    """Symbolic links that were replaced by copies of what they lead to."""
    record_before: str = ""
    """The SHA-256 that the run's record has until the new one, with what people say of the run by now, is written."""


def require_format(form: int, what: str) -> None:
    """Refuse what a newer version has written.

    Raises:
        UserError: it has.
    """
    if form > versions.ARCHIVE:
        raise UserError(
            f"{what} was written by a newer version of orchestra (format {form}, we know {versions.ARCHIVE})",
            "Upgrade orchestra to read it.",
        )
    if form < 1:
        raise UserError(f"{what} has the format {form}, which there never was")


def portable(run: Run, *, environment: bool = False) -> Run:
    """``run`` as archives hold it: nobody watches it, and it is in no directory of its own.

    Without ``environment`` it has no variables.
    """
    state, reason = _at_rest(run, "exported")
    return structs.replace(
        run,
        state=state,
        reason=reason,
        directory=None,
        worker=None,
        lease=None,
        handle=None,
        environment=run.environment if environment else {},
    )


def returned(run: Run) -> Run:
    """A run as it comes back that was made here."""
    return structs.replace(portable(run, environment=True), rest="aborted")


def inert(run: Run, imported: Imported, ids: Mapping[str, str]) -> Run:
    """A run as it is entered that comes from elsewhere: nothing starts it but a person who asks for it.

    ``ids``: the ids that runs get, where these are others than they had.
    """
    state, reason = _at_rest(run, "imported")
    if state in ("staged", "pending"):
        state, reason = "aborted", f"it was {state} when it was exported"
    return structs.replace(
        portable(without_secrets(run), environment=True),
        id=ids.get(run.id, run.id),
        batch=ids.get(run.batch, run.batch) if run.batch else None,
        parent=ids.get(run.parent, run.parent) if run.parent else None,
        state=state,
        reason=reason,
        rest="aborted",
        queued=None,
        not_before=None,
        devices=(),
        granted=False,
        imported=imported,
    )


def without_secrets(run: Run) -> Run:
    """``run`` with marks that stand for no secret of this home, whatever stood there."""
    data = encode(run)
    changed = _unmarked(data)
    return run if changed == data else decode(changed, Run)


def _unmarked(data: bytes) -> bytes:
    return MARKS.sub(MARK + "0" * 12, data.decode()).encode() if MARK.encode() in data else data


def _at_rest(run: Run, what: str) -> tuple[State, str | None]:
    if run.state == "running":
        return "lost", f"it was running when it was {what}"
    if run.busy:
        return "aborted", f"it was being started when it was {what}"
    return run.state, run.reason


def says_other(run: Run, copy: Run) -> bool:
    """Whether people say something else of a run than of a copy of it."""
    return _said(run) != _said(copy)


def _said(run: Run) -> bytes:
    return _unmarked(encode([getattr(run, name) for name in SAID]))


def says_later(run: Run, copy: Run) -> bool:
    """Whether people say something else of a run than of a copy of it, and have said it later."""
    later = (run.annotated, run.revision) > (copy.annotated, copy.revision)
    return later and says_other(run, copy)


def with_word_of(run: Run, copy: Run) -> Run:
    """``run`` with what people say of ``copy``."""
    said = {name: getattr(copy, name) for name in SAID}
    # Of a batch it is that of its trials.
    template = copy.label_template if run.batch_spec is None else run.label_template
    return structs.replace(run, **said, label_template=template, annotated=copy.annotated)


def essence(run: Run, files: Mapping[str, str], links: Mapping[str, str]) -> str:
    """A digest of what a run is and has made: two with one id and one essence are the same run.

    What people note of a run, and who watches it, is no part of it; ``files`` are its own, with their digests.
    """
    spec = run.batch_spec
    fields = {
        "kind": run.kind,
        "operation": run.operation,
        "flags": run.flags,
        "batch": None if spec is None else (spec.space, spec.fixed, spec.rows, spec.expander, spec.seed),
        "trial": (run.trial, run.generation),
        "attempt": run.attempt,
        "created": run.created,
        "exit": run.exit_code,
        "source": run.sourcecode_digest,
        "seed": run.random_seed,
        "files": sorted(files.items()),
        "links": sorted(links.items()),
    }
    return hashlib.sha256(_unmarked(encode(fields))).hexdigest()


def run_of_link(path: str, target: str) -> tuple[str, str] | None:
    """The other run, and the path in it (empty: the run itself), that a link at ``path`` of a run's directory leads
    to; None: to no run."""
    place = posixpath.normpath(posixpath.join("run", posixpath.dirname(path), target))
    first, _, rest = place.partition("/")
    if target.startswith("/") or first in ("..", ".", "run"):
        return None
    return first, rest
