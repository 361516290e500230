"""``run --edit-flags``: the flags of a run in a person's editor, until they can be used."""

from __future__ import annotations

import json
import sys
from typing import cast

import yaml
from msgspec import structs

from orchestra.cli.editing import edit_text
from orchestra.console import printable
from orchestra.engine.begin import prepare
from orchestra.engine.request import RunRequest
from orchestra.engine.restart import Restart
from orchestra.engine.session import Session
from orchestra.engine.stage import Plan
from orchestra.errors import Aborted, FlagError, UserError
from orchestra.model.batch import unexpanded
from orchestra.model.flags import decode, encode
from orchestra.model.operation import FlagValue


async def edit_flags(
    session: Session, request: RunRequest, prepared: Plan | Restart
) -> tuple[RunRequest, Plan | Restart]:
    """Let a person edit the flags that ``request`` comes to; the request with them, and what it comes to now.

    Raises:
        Aborted: everything was deleted.
        UserError: the editor failed, or what can't be used was left as it was.
    """
    text = "".join(written(name, value) for name, value in sorted(_flags_of(prepared).items()))
    before = read_flags(text)
    problem: UserError | None = None
    while True:
        edited = edit_text(text, "flags.yml")
        if not edited.strip() and text.strip():
            print("orchestra: no flags are left: nothing was run", file=sys.stderr)
            raise Aborted("no flags are left")
        if problem is not None and edited == text:
            raise problem
        text = edited
        try:
            wanted = structs.replace(request, flags=_with_changes(request.flags, before, read_flags(text)))
            return wanted, await prepare(session, wanted)
        except UserError as error:
            problem = error
            print(f"orchestra: {printable(error.message)}", file=sys.stderr)


def _flags_of(prepared: Plan | Restart) -> dict[str, FlagValue]:
    if isinstance(prepared, Plan):
        return prepared.flags
    spec = prepared.run.batch_spec
    return prepared.run.flags if spec is None else unexpanded(spec)


def _with_changes(
    given: dict[str, FlagValue], before: dict[str, str], after: dict[str, str]
) -> dict[str, FlagValue]:
    """Only what was changed: a flag that is given wins over a file of trials. Deleted ones are not given."""
    kept = {name: value for name, value in given.items() if name in after or name not in before}
    changed = {name: text for name, text in after.items() if before.get(name) != text}
    return {**kept, **{name: decode(text, name) if text else None for name, text in changed.items()}}


def written(name: str, value: FlagValue) -> str:
    """The line of a flag: as on the command line where that is YAML, too, else as JSON."""
    encoded = encode(value)
    plain = f"{name}: {encoded}\n"
    try:
        if read_flags(plain) == {name: encoded}:
            return plain
    except FlagError:
        pass
    return f"{json.dumps(name)}: {json.dumps(value if isinstance(value, list) else encoded)}\n"


def read_flags(text: str) -> dict[str, str]:
    """The names and, as they are written, the values of a YAML mapping.

    Raises:
        FlagError: it is none.
    """
    try:
        root = cast("yaml.Node | None", yaml.compose(text, Loader=yaml.SafeLoader))  # pyright: ignore[reportUnknownMemberType]
    except yaml.YAMLError as error:
        raise FlagError(f"the flags are not valid YAML: {' '.join(str(error).split())}") from error
    if root is None:
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise FlagError("the flags are not valid: give a line 'NAME: VALUE' for each")
    found: dict[str, str] = {}
    for key, value in root.value:
        if not isinstance(key, yaml.ScalarNode) or not key.value:
            raise FlagError("the flags are not valid: a name is a plain text")
        found[key.value] = text[value.start_mark.index : value.end_mark.index].strip()
    return found
