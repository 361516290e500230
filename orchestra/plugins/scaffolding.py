"""A new plugin's package, written from the templates beside this module. Each of them is a plugin that works.

In a template ``newname`` stands for the plugin's name, ``Newname`` for it in the name of a class, ``newkind`` for
its kind: so templates are checked and linted as what they are.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from orchestra.contracts import Kind
from orchestra.errors import PluginConflict, UserError, text_of_os_error
from orchestra.plugins.listing import OWN_DISTRIBUTION, list_plugins

TEMPLATES = Path(__file__).with_name("templates")
SHARED = ("pyproject.toml", "CHANGELOG.md")
"""What all kinds have the same of."""
NAME_LENGTHS = range(2, 41)
"""Of one letter no scheme of a source can be, and with a longer name lines would have to be broken."""
PREFIX = "orchestra-"

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_WORDS = re.compile(r"orchestra_newname|newname|Newname|newkind|\"anyio>=4.7\", |\"orchestra-runs\"")


def plugin_name(text: str) -> str:
    """``text`` as the name of a plugin: lower case, with hyphens, without the prefix of a distribution.

    Raises:
        UserError: it can't be one.
    """
    name = re.sub(r"[-_.]+", "-", text).lower().removeprefix(PREFIX)
    if not _NAME.fullmatch(name) or len(name) not in NAME_LENGTHS:
        raise UserError(
            f"{text!r} can't be the name of a plugin",
            f"Take 2 to {NAME_LENGTHS[-1]} letters, digits and hyphens, a letter first: 'my-plugin'.",
        )
    return name


def write_package(kind: Kind, name: str, parent: Path, *, version: str) -> Path:
    """Write the package of a new plugin to ``parent/orchestra-NAME`` and return that folder.

    It is one for this ``version`` of the product, and those after it that change nothing of it.

    Raises:
        UserError: the folder is there already, or can't be written.
        PluginConflict: an installed plugin of this kind, or an installed distribution, has the name.
    """
    _refuse_taken(kind, name)
    folder = parent / f"{PREFIX}{name}"
    if not parent.is_dir():
        raise UserError(
            f"'{parent.absolute()}' is not a directory", "Make it first, or choose another place."
        )
    try:
        folder.mkdir()  # by whom it is made is who writes to it
    except FileExistsError:
        raise UserError(
            f"'{folder}' is there already", "Nothing was written. Take another name, or '--dir'."
        ) from None
    except OSError as error:
        raise UserError(f"'{folder}' can't be made: {text_of_os_error(error)}") from None
    try:
        _fill(folder, _replacements(kind, name, version), TEMPLATES / kind)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise UserError(f"'{folder}' can't be written: {text_of_os_error(error)}") from None
    return folder


def _refuse_taken(kind: Kind, name: str) -> None:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    for info in list_plugins(kind):
        if info.name == name:
            owner = f"{info.distribution} {info.version}".rstrip()
            raise PluginConflict(f"the {kind} '{name}' is provided by {owner}", "Take another name.")
    distribution = f"{PREFIX}{name}"
    if distribution == OWN_DISTRIBUTION:
        raise PluginConflict(f"'{distribution}' is the product itself", "Take another name.")
    try:
        found = installed(distribution)
    except PackageNotFoundError:
        return
    raise PluginConflict(f"a distribution '{distribution}' is installed ({found})", "Take another name.")


def _fill(folder: Path, words: dict[str, str], root: Path) -> None:
    def filled(text: str) -> str:
        return _WORDS.sub(lambda match: words[match.group()], text)

    own = (path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    places = {path: str(path.relative_to(root)) for path in own} | {TEMPLATES / name: name for name in SHARED}
    for source, place in places.items():
        target = folder / filled(place)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(filled(source.read_text(encoding="utf-8")), encoding="utf-8")


def _replacements(kind: Kind, name: str, version: str) -> dict[str, str]:
    return {
        "orchestra_newname": f"{PREFIX}{name}".replace("-", "_"),
        "newname": name,
        "Newname": "".join(part.capitalize() for part in name.split("-")),
        "newkind": kind,
        '"anyio>=4.7", ': '"anyio>=4.7", ' if kind == "executor" else "",
        '"orchestra-runs"': f'"{OWN_DISTRIBUTION}{_range(version)}"',
    }


def _range(version: str) -> str:
    """The versions that a plugin written for ``version`` can be sure of: before 1.0 each minor one may break it."""
    major, minor, *_ = (int(part) for part in re.findall(r"\d+", version))
    return f">={major}.{minor},<{major + 1}" if major else f">={major}.{minor},<{major}.{minor + 1}"
