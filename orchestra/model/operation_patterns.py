"""Patterns of operations' names, as people write them to find runs."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from functools import lru_cache

from orchestra.errors import UserError
from orchestra.model.attributes import bare_operation
from orchestra.model.run import Run


def check_operation(pattern: str) -> str:
    """Return ``pattern`` if it can be one.

    Raises:
        UserError: it is a regular expression that can't be read.
    """
    operation_matcher(pattern)
    return pattern


@lru_cache(maxsize=64)
def operation_matcher(pattern: str) -> Callable[[Run], bool]:
    """Tells of a run whether it is of an operation that ``pattern`` means: see ``OfOperation``.

    Raises:
        UserError: it is a regular expression that can't be read.
    """
    if pattern.startswith("^") or pattern.endswith("$"):
        try:
            search = re.compile(pattern).search
        except (re.error, OverflowError, RecursionError) as error:
            raise UserError(f"invalid regular expression '{pattern}' for the operation: {error}") from None
        return lambda run: search(run.operation_name) is not None
    model, colon, name = pattern.rpartition(":")
    fits_name, fits_model = _glob(name), _glob(model)

    def fits(run: Run) -> bool:
        if colon:
            return bool(fits_model(run.operation.model) and fits_name(bare_operation(run)))
        bare = bare_operation(run)
        return bool(fits_name(bare) or fits_name(_last(bare)))

    return fits


def _last(name: str) -> str:
    """A script's own name."""
    return name.rpartition("/")[2]


def _glob(pattern: str) -> Callable[[str], object]:
    return re.compile(fnmatch.translate(pattern)).match if pattern else lambda name: not name
