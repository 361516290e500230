"""A pager for what is long: ``$PAGER``, else ``less``."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Generator

from orchestra.cli import terminal
from orchestra.cli.programs import starting, words_of


@contextlib.contextmanager
def pager() -> Generator[Callable[[bytes], None]]:
    """What shows somebody's bytes, chunk by chunk, in a pager; without a terminal, as they are.

    Raises:
        UserError: there is no such pager.
    """
    if not os.isatty(1):
        yield terminal.shower()
        return
    command = os.environ.get("PAGER") or "less"
    # As others do: colours are shown, and what fits the screen is not paged.
    environment = {"LESS": "FRX", **os.environ}
    with starting(f"the pager '{command}'", "Name another one in PAGER, or leave out --page."):
        process = subprocess.Popen(words_of(command), stdin=subprocess.PIPE, env=environment)
    assert process.stdin is not None
    try:
        # Whoever leaves the pager has seen enough.
        with contextlib.suppress(BrokenPipeError), process.stdin as into:
            yield terminal.shower(into.write)
    finally:
        _wait(process)


def _wait(process: subprocess.Popen[bytes]) -> None:
    while True:
        try:
            process.wait()
        except KeyboardInterrupt:
            # Ctrl-C is the pager's: it ends a search.
            continue
        return
