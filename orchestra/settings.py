"""What a person has settled for all commands: configuration files, ``ORCHESTRA_*`` variables, and the home.

Later wins: user configuration, the home's, the project's, variables, options of the command line.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, cast

import msgspec
from msgspec import Struct

from orchestra.contracts import KINDS, Kind
from orchestra.errors import HomeError, UserError, text_of_os_error
from orchestra.model.operation import OutputMode
from orchestra.model.resources import parse_memory

CONFIG_NAME = "config.yml"
HOME_NAME = ".orchestra"
HOME_VARIABLE = "ORCHESTRA_HOME"
CONFIG_VARIABLE = "ORCHESTRA_CONFIG"

LEAST_OUTPUT = 1 << 20
"""Bytes that an output may take at least."""

PluginOptions = dict[str, dict[str, dict[str, Any]]]


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """The settings in force."""

    plugins: PluginOptions = {}
    """Options by kind and plugin name: ``{executor: {slurm: {partition: gpu}}}``."""
    executor: str = "local"
    """The executor for new runs, with options: ``slurm partition=gpu``."""
    store: str = "sqlite"
    """The home's store, with options."""
    durability: Literal["full", "fast"] = "full"
    """``fast`` leaves out the fsyncs: safe from kill -9, not from a loss of power."""
    output: OutputMode = "piped"
    """How operations write that say nothing of it; with ``direct``, a supervisor that is killed costs no output."""
    interim: Literal["keep", "delete"] = "keep"
    """What becomes of batch and queue runs that succeeded."""
    output_limit: str | int = "1G"
    """What the output of an attempt may take on the disk, beyond which its middle is given up; ``none``: anything."""

    @property
    def most_output(self) -> int | None:
        """:attr:`output_limit` in bytes.

        Raises:
            UserError: it is no size, or too small.
        """
        text = str(self.output_limit)
        if text in ("none", "0"):
            return None
        size = parse_memory(text)
        if size < LEAST_OUTPUT:
            raise UserError(f"an output limit of {text} is too small", "Give 1M or more, or 'none'.")
        return size

    def plugin(self, kind: Kind, spec: str) -> tuple[str, dict[str, Any]]:
        """The name and options that ``spec`` asks for, above the options that are settled for that plugin.

        Raises:
            UserError: ``spec`` can't be read.
        """
        name, options = parse_plugin_spec(spec)
        return name, {**self.plugin_options(kind, name), **options}

    def plugin_options(self, kind: Kind, name: str) -> dict[str, Any]:
        """What is settled for a plugin (``DISTRIBUTION:NAME`` and ``NAME`` are one)."""
        return dict(self.plugins.get(kind, {}).get(name.rpartition(":")[2], {}))


def parse_plugin_spec(spec: str) -> tuple[str, dict[str, str]]:
    """Split ``slurm partition=gpu 'comment=a b'`` into the name and its options.

    Raises:
        UserError: no name, an unclosed quote, or a part that is not ``NAME=VALUE``.
    """
    try:
        parts = shlex.split(spec)
    except ValueError as error:
        raise UserError(f"the plugin '{spec}' can't be read: {error}") from error
    if not parts or "=" in parts[0]:
        raise UserError(f"'{spec}' does not begin with a plugin's name", "Write 'NAME OPTION=VALUE ...'.")
    options: dict[str, str] = {}
    for part in parts[1:]:
        name, equals, value = part.partition("=")
        if not (name and equals):
            raise UserError(f"'{part}' in '{spec}' is not OPTION=VALUE", "Quote a value that has spaces.")
        options[name] = value
    return parts[0], options


def find_home(
    explicit: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Path:
    """The home (absolute). Creates nothing.

    It is ``explicit``, ``ORCHESTRA_HOME``, the nearest ``.orchestra`` upward of ``cwd``, or ``~/.orchestra``.
    Inside a run's directory the nearest home is the run's: that one's ``.orchestra`` has a ``run.json``.

    Raises:
        HomeError: the home that was named is a file, or its parent is missing.
    """
    env = os.environ if env is None else env
    cwd = Path.cwd() if cwd is None else cwd
    if explicit is not None:
        return _named_home(os.fspath(explicit), "the home", cwd)
    if env.get(HOME_VARIABLE):
        return _named_home(env[HOME_VARIABLE], f"the home of {HOME_VARIABLE}", cwd)
    for directory in (cwd, *cwd.parents):
        control = directory / HOME_NAME
        if not control.is_dir():
            continue
        if not (control / "run.json").exists():
            return control
        if directory.parent.name == "runs":
            return directory.parent.parent
    return Path(env.get("HOME") or "~").expanduser() / HOME_NAME


def _named_home(text: str, what: str, cwd: Path) -> Path:
    if not text:
        raise HomeError(f"{what} is empty", "Name a directory.")
    home = Path(os.path.normpath(cwd / Path(text).expanduser()))
    # In this order: somebody may be making it just now.
    if os.path.lexists(home) and not home.is_dir():
        raise HomeError(f"{what} is not a directory: '{home}'", "Name a directory, or one that can be made.")
    if not home.parent.is_dir():
        raise HomeError(
            f"{what} can't be made, for its parent is missing: '{home}'", "Create the parent first."
        )
    return home


def load_settings(
    home: Path,
    options: Mapping[str, Any] | None = None,
    *,
    project: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
) -> Settings:
    """Read and merge all settings. ``project`` are the project file's, ``options`` the command line's.

    An option that is None was not given. ``env`` is ``os.environ`` unless given.

    Raises:
        UserError: a file can't be read, or a setting is unknown or has a wrong value; the message says where.
    """
    merged: dict[str, Any] = {}
    for where, layer in _layers(home, os.environ if env is None else env, project or {}, options or {}):
        _check(layer, where)
        plugins = _merge_plugins(merged.get("plugins", {}), layer.get("plugins", {}))
        merged = {**merged, **layer, "plugins": plugins}
    return msgspec.convert(merged, Settings)


def _layers(
    home: Path, env: Mapping[str, str], project: Mapping[str, Any], options: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    user = env.get(CONFIG_VARIABLE)
    base = Path(env.get("XDG_CONFIG_HOME") or Path(env.get("HOME") or "~").expanduser() / ".config")
    user_file = Path(user).expanduser() if user else base / "orchestra" / CONFIG_NAME
    layer = read_config(user_file, required=bool(user))
    if "store" in layer:
        raise UserError(
            f"{user_file}: 'store' can't be settled for all homes",
            f"Move it to {home / CONFIG_NAME}, or set ORCHESTRA_STORE.",
        )
    yield str(user_file), layer
    home_file = home / CONFIG_NAME
    yield str(home_file), read_config(home_file)
    if "store" in project:
        raise UserError(
            "the project file: 'store' can't be settled for a project, only for a home",
            f"Move it to {home_file}, or set ORCHESTRA_STORE.",
        )
    yield "the project file", dict(project)
    for name in ("executor", "store", "durability", "output", "output-limit", "interim"):
        variable = f"ORCHESTRA_{name.upper().replace('-', '_')}"
        if value := env.get(variable):
            yield variable, {name: value}
    yield "the options", {name: value for name, value in options.items() if value is not None}


def _check(layer: dict[str, Any], where: str) -> None:
    fields = Settings.__struct_encode_fields__
    for name in layer:
        if name not in fields:
            raise UserError(f"{where}: unknown setting '{name}'", _suggest(name, fields, "settings"))
    plugins = layer.get("plugins")
    if isinstance(plugins, dict):
        for kind in cast(dict[Any, Any], plugins):
            if kind not in KINDS:
                hint = _suggest(str(kind), KINDS, "kinds")
                raise UserError(f"{where}: unknown plugin kind '{kind}'", hint)
    try:
        settings = msgspec.convert(layer, Settings)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$.")
        setting = place.rstrip("`").partition("[")[0]
        from orchestra.model.type_words import has_to_be

        wrong = has_to_be(reason) or f"is wrong: {reason}"
        raise UserError(f"{where}: the setting '{setting}' {wrong}") from error
    try:
        settings.most_output  # noqa: B018
    except UserError as error:
        raise UserError(
            f"{where}: the setting 'output-limit' is wrong: {error.message}", error.hint
        ) from error


def _merge_plugins(below: PluginOptions, above: PluginOptions) -> PluginOptions:
    merged = {kind: dict(plugins) for kind, plugins in below.items()}
    for kind, plugins in above.items():
        for name, options in plugins.items():
            known = merged.setdefault(kind, {})
            known[name] = {**known.get(name, {}), **options}
    return merged


def _suggest(name: str, known: Iterable[str], what: str) -> str:
    from difflib import get_close_matches

    names = sorted(known)
    close = get_close_matches(name, names, n=1)
    meant = f"Did you mean '{close[0]}'? " if close else ""
    return f"{meant}The {what} are {', '.join(names)}."


def read_config(file: Path, *, required: bool = False) -> dict[str, Any]:
    """The settings in ``file``; empty if there is none, unless it is ``required``.

    Raises:
        UserError: it can't be read, or is not a YAML mapping with each key once.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        if required:
            raise UserError(f"{CONFIG_VARIABLE} names a file that is missing: '{file}'") from error
        return {}
    except NotADirectoryError:
        return {}
    except OSError as error:
        raise UserError(f"the settings can't be read: {text_of_os_error(error)}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 (byte {error.start})") from error
    return _parse(text, file)


def _parse(text: str, file: Path) -> dict[str, Any]:
    if not text.strip():
        return {}
    import yaml

    try:
        document = cast(Any, yaml.compose(text, Loader=yaml.SafeLoader))  # pyright: ignore[reportUnknownMemberType]
        if document is not None:
            _refuse_duplicates(document, file)
        content = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise UserError(f"{file}{where}: {error.problem or error.context}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{file}: {str(error).splitlines()[0]}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{file}: the settings must be 'NAME: VALUE' lines")
    return {str(name): value for name, value in cast(dict[Any, Any], content).items()}


def _refuse_duplicates(node: Any, file: Path) -> None:
    # PyYAML keeps the last of two equal keys without a word.
    value: Any = node.value
    if not isinstance(value, list):
        return
    seen: dict[str, int] = {}
    for item in cast(list[Any], value):
        if not isinstance(item, tuple):
            _refuse_duplicates(item, file)
            continue
        key, child = cast(tuple[Any, Any], item)
        line: int = key.start_mark.line + 1
        name = str(key.value)
        if name in seen:
            raise UserError(
                f"{file}:{line}: '{name}' is there twice", f"The other one is in line {seen[name]}."
            )
        seen[name] = line
        _refuse_duplicates(child, file)
