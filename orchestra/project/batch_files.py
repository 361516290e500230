"""Files of trials, ``@trials.csv`` on the command line: CSV with a header, or a list of maps as JSON or YAML."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from orchestra.errors import UserError, text_of_os_error
from orchestra.model.decoding import Decoded
from orchestra.model.flags import Text
from orchestra.model.sequences import parse_function


class Row(NamedTuple):
    """The flags of one trial, or of several where a value is a list."""

    values: dict[str, Decoded]
    place: str
    """Where it stands, for messages: ``trials.csv:3``."""


def read_batch_file(path: Path, shown: str) -> list[Row]:
    """The trials that the file at ``path`` lists.

    Args:
        path: of the file; without an extension it is read as CSV.
        shown: how messages name it.

    Raises:
        UserError: it can't be read, or lists no trials.
    """
    extension = path.suffix.lower()
    if extension not in _READERS:
        raise UserError(
            f"cannot read trials for {shown}: unsupported extension",
            "Use .csv, .json, .yml or .yaml, or none for CSV.",
        )
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"batch file {shown} does not exist") from None
    except OSError as error:
        raise UserError(f"cannot read trials for {shown}: {text_of_os_error(error)}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"cannot read trials for {shown}: it is not UTF-8 at byte {error.start}") from None
    rows = _READERS[extension](text, shown)
    if not rows:
        raise UserError(f"cannot read trials for {shown}: there are none in it")
    return rows


def _read_csv(text: str, shown: str) -> list[Row]:
    import csv
    from io import StringIO

    reader = csv.reader(StringIO(text, newline=""), strict=True)
    header: list[str] = []
    rows: list[Row] = []
    try:
        for cells in reader:
            place = f"{shown}:{reader.line_num}"
            if not cells:
                continue
            if not header:
                header = _checked_header(cells, place)
                continue
            if len(cells) > len(header):
                raise UserError(
                    f"{place}: there are {len(cells)} values for {len(header)} flags",
                    "Quote a value that has a comma in it.",
                )
            values = {name: Text(cell.strip()) for name, cell in zip(header, cells, strict=False)}
            rows.append(Row(cast("dict[str, Decoded]", values), place))
    except csv.Error as error:
        raise UserError(f"{shown}:{reader.line_num}: {error}") from None
    return rows


def _checked_header(cells: list[str], place: str) -> list[str]:
    header = [cell.strip() for cell in cells]
    for name in header:
        if not name:
            raise UserError(f"{place}: a column has no name", "The first line names the flags.")
        if header.count(name) > 1:
            raise UserError(f"{place}: flag '{name}' has two columns")
    return header


def _read_json(text: str, shown: str) -> list[Row]:
    import json

    data: Any
    try:
        data = json.loads(text) if text.strip() else []
    except json.JSONDecodeError as error:
        raise UserError(f"{shown}:{error.lineno}:{error.colno}: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"cannot read trials for {shown}: {error or 'nested too deeply'}") from None
    return _rows_of(data, shown)


def _read_yaml(text: str, shown: str) -> list[Row]:
    from orchestra.model.yaml_values import load

    try:
        data = load(text)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split()) or "nested too deeply"
        raise UserError(f"cannot read trials for {shown}: {reason}") from None
    return _rows_of([] if data is None else data, shown)


def _rows_of(data: Any, shown: str) -> list[Row]:
    listed: Any = [data] if isinstance(data, dict) else data
    if not isinstance(listed, list):
        raise UserError(
            f"cannot read trials for {shown}: invalid data type for trials: expected list or dict, "
            f"got {cast('Any', data).__class__.__name__}"
        )
    rows: list[Row] = []
    trials = cast("list[Any]", listed)
    for number, trial in enumerate(trials, 1):
        if not isinstance(trial, dict):
            raise UserError(
                f"cannot read trials for {shown}: invalid data type for trial {trial}: expected dict"
            )
        entries = cast("dict[Any, Any]", trial).items()
        rows.append(Row({str(name): _value(value) for name, value in entries}, f"{shown}, trial {number}"))
    return rows


def _value(value: Any) -> Decoded:
    """A value as it stands; a text that is a function (``range[1:5]``) as on a command line."""
    return Text(value) if isinstance(value, str) and parse_function(value) is not None else value


_READERS: Final[dict[str, Callable[[str, str], list[Row]]]] = {
    "": _read_csv,
    ".csv": _read_csv,
    ".json": _read_json,
    ".yml": _read_yaml,
    ".yaml": _read_yaml,
}


def check_target(path: str) -> str:
    """The extension of a file that trials can be saved to.

    Raises:
        UserError: it is none of those that can be written.
    """
    extension = os.path.splitext(path)[1].lower()
    if extension not in ("", ".csv", ".json"):
        raise UserError(f"Unsupported extension '{extension}' - use '.csv', '.json', or no extension")
    return extension


def trials_as_text(trials: tuple[dict[str, Any], ...], extension: str) -> str:
    """The trials as a file that :func:`read_batch_file` reads back."""
    import csv
    import json
    from io import StringIO

    from orchestra.model.decoding import encode

    if extension == ".json":
        return json.dumps(trials, indent=2, ensure_ascii=False) + "\n"
    names = sorted({name for trial in trials for name in trial})
    stream = StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    for trial in trials:
        writer.writerow([encode(trial.get(name)) for name in names])
    return stream.getvalue()
