"""How flags read in listings, log lines and labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, cast

from orchestra.model.batch import Batch, Interval, varying
from orchestra.model.decoding import encode
from orchestra.model.operation import FlagValue
from orchestra.model.references import FAILED, apply_filter

PATH_WIDTH: Final = 20
"""How wide a path is shown in a label."""

MOST_VALUES: Final = 5
"""Values of a flag that are shown of a batch."""

_LONG_DECIMALS = r"(\.[0-9]{5})[0-9]+"
_RUN_ID = r"[0-9a-f]{32}"
_REFERENCE = r"\$\{([^}]*)\}"
_KNOWN: Final = ("default_label", "tags", "label")
"""What a label can refer to beside flags."""

PathCheck = Callable[[str], bool]


def _no_path(value: str) -> bool:
    return False


def format_flags(flags: dict[str, FlagValue]) -> str:
    """``a=1 b=null``: all flags by name, as listings show them."""
    return " ".join(f"{name}={encode(flags[name])}" for name in sorted(flags))


def trial_flags(flags: dict[str, FlagValue]) -> str:
    """``a=1, b=x``: all flags but nulls, as log lines of trials show them."""
    return ", ".join(f"{name}={encode(flags[name])}" for name in sorted(flags) if flags[name] is not None)


def default_label(flags: dict[str, FlagValue], is_path: PathCheck = _no_path) -> str:
    """``a=1 b=x``: all flags but nulls, with long decimals, run ids and paths shortened.

    Args:
        flags: of the run.
        is_path: whether a text names something that exists.
    """
    return " ".join(
        f"{name}={shown_in_label(flags[name], is_path)}" for name in sorted(flags) if flags[name] is not None
    )


def shown_in_label(value: FlagValue, is_path: PathCheck = _no_path) -> str:
    """``value`` as a label shows it."""
    if isinstance(value, float):
        return re.sub(_LONG_DECIMALS, r"\1", encode(value))
    if isinstance(value, str):
        if re.fullmatch(_RUN_ID, value):
            return value[:8]
        if len(value) > PATH_WIDTH and "/" in value and is_path(value):
            return encode(shorten_path(value))
    return encode(value)


def shorten_path(path: str, width: int = PATH_WIDTH) -> str:
    """``path`` with folders in its middle left out, until it fits ``width`` or only its ends are left."""
    if len(path) <= width:
        return path
    *folders, last = path.split("/")
    # An absolute path begins with an empty folder, which is no end to keep.
    head = "/".join(folders[:2]) if folders and not folders[0] else "".join(folders[:1])
    tail = last
    for folder in reversed(folders):
        longer = f"{folder}/{tail}"
        if len(f"{head}/…/{longer}") > width:
            break
        tail = longer
    shortened = f"{head}/…/{tail}"
    return shortened if len(shortened) < len(path) else path


def run_label(
    template: str | None,
    flags: dict[str, FlagValue],
    tags: Iterable[str] = (),
    is_path: PathCheck = _no_path,
) -> str:
    """A run's label: its template filled in, else its tags and the default label."""
    label = default_label(flags, is_path)
    if template is None:
        return " ".join(part for part in (*tags, label) if part)
    return render_label(template, flags, label, tags, is_path)


def trial_label(
    label: str | None,
    flags: dict[str, FlagValue],
    tags: Iterable[str],
    varying: Collection[str],
    is_path: PathCheck = _no_path,
) -> str:
    """``label`` of a trial, beside others of its batch: of a default label only the flags that are ``varying``.

    A label that somebody has chosen stays as it is.
    """
    differing = {name: value for name, value in flags.items() if name in varying}
    if not differing or label != run_label(None, flags, tags, is_path):
        return label or ""
    return run_label(None, differing, tags, is_path)


def changes_label(
    label: str | None,
    flags: dict[str, FlagValue],
    tags: Iterable[str],
    defaults: Mapping[str, FlagValue],
    is_path: PathCheck = _no_path,
) -> str:
    """``label`` of a run: of a default label only the flags that are not as in ``defaults``, beside its tags.

    A label that somebody has chosen stays as it is.
    """
    if label != run_label(None, flags, tags, is_path):
        return label or ""
    changed = {name: value for name, value in flags.items() if value != defaults.get(name)}
    return run_label(None, changed, tags, is_path)


def batch_label(batch: Batch) -> str:
    """What ``batch`` goes over, as ``lr=[0.1, 0.2]``: of many values the first ones, and how many there are."""
    names = sorted(varying(batch))
    return " ".join(f"{name}={_tried(batch, name)}" for name in names)


def _tried(batch: Batch, name: str) -> str:
    dimension = batch.space.get(name)
    if isinstance(dimension, Interval):
        return encode(dimension)
    values = [] if dimension is None else list(dimension.values)
    for row in batch.rows:
        value = row.get(name)
        several = cast("Sequence[FlagValue]", value if isinstance(value, list | tuple) else [value])
        values += [one for one in several if name in row and one not in values]
    if len(values) <= MOST_VALUES:
        return encode(values)
    return f"{encode(values[:MOST_VALUES])[:-1]}, … {len(values)} values]"


def unknown_in_label(template: str, flags: Collection[str]) -> list[str]:
    """The names that ``template`` refers to and that are empty: neither flags nor known, and without a default."""
    found: list[str] = []
    for reference in re.findall(_REFERENCE, template):
        name, *filters = (part.strip() for part in reference.split("|"))
        if not (name in flags or name in _KNOWN or any(one.startswith("default:") for one in filters)):
            found.append(name)
    return list(dict.fromkeys(found))


def render_label(
    template: str,
    flags: dict[str, FlagValue],
    default: str,
    tags: Iterable[str] = (),
    is_path: PathCheck = _no_path,
    label: str = "",
) -> str:
    """Fill in ``${flag}``, ``${default_label}``, ``${tags}`` and ``${label}``, that which a run has so far.

    Filters follow a bar: ``${x|default:V}``, ``${x|basename}``, ``${x|unquote}`` and a number format such as
    ``${x|%.2f}``. An undefined name is empty, a filter that is unknown or can't be applied gives ``#error#``.
    """
    shown = dict(zip(_KNOWN, (default, " ".join(tags), label), strict=True))

    def fill(reference: re.Match[str]) -> str:
        name, *filters = (part.strip() for part in reference[1].split("|"))
        quoted = True
        value = flags.get(name)
        if name not in flags and name in shown:
            value, quoted = shown[name], False
        for applied in filters:
            if applied == "unquote" or applied.startswith(("%", "default:")):
                quoted = quoted and value is not None and applied.startswith("default:")
            value = apply_filter(value, applied)
            if value == FAILED:
                return FAILED
        if value is None:
            return "null" if name in flags and not filters else ""
        return shown_in_label(value, is_path) if quoted else str(value)

    return re.sub(_REFERENCE, fill, template)
