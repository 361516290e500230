"""``python -m tests.benchmarks``: measure, and print the table with today's figures beside the targets.

Never a gate: whatever the figures are, it exits with 0 (1 if something could not be measured).
"""

from __future__ import annotations

import argparse
import math
import platform
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks import drain_rows, listing_rows, load_rows, result_rows, start_rows
from tests.benchmarks.rows import NOMINAL_START, PASS, Bench, Figure
from tests.benchmarks.timing import Failed, interleave

ROWS = [*start_rows.ROWS, *drain_rows.ROWS, *listing_rows.ROWS, *result_rows.ROWS, *load_rows.ROWS]
HEADER = ("what", "today", "floor", "target", "stretch", "")


def main() -> int:
    """Measure the rows that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--rows", metavar="KEY,...", help=f"only these: {', '.join(row.key for row in ROWS)}")
    parser.add_argument("--quick", action="store_true", help="small and few: does it work? (no figures)")
    given = parser.parse_args()
    wanted = given.rows.split(",") if given.rows else [row.key for row in ROWS]
    if unknown := set(wanted) - {row.key for row in ROWS}:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    failed = False
    with tempfile.TemporaryDirectory(prefix="orchestra-benchmarks-", ignore_cleanup_errors=True) as directory:
        bench = Bench(Path(directory), quick=given.quick)
        commands = bench.commands(bench.new_home())
        bench.start_time = interleave(bench.few(21, 3), {"pass": commands.measure(PASS)})["pass"]
        print(_preamble(bench), flush=True)
        print(_line(HEADER), flush=True)
        for row in ROWS:
            if row.key not in wanted:
                continue
            try:
                for figure in row.measure(bench):
                    print(_line(_cells(figure, bench)), flush=True)
            except Failed as error:
                failed = True
                print(f"{row.key}: could not be measured: {error}", file=sys.stderr, flush=True)
    return int(failed)


def _preamble(bench: Bench) -> str:
    return (
        f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, {platform.system()}; "
        f"python -c pass: {bench.start_time * 1000:.1f} ms. Targets marked * are for "
        f"{NOMINAL_START * 1000:.0f} ms and grow with it."
        f"{' QUICK: the figures say nothing.' if bench.quick else ''}\n"
    )


def _cells(figure: Figure, bench: Bench) -> tuple[str, ...]:
    grows = max(1.0, bench.start_time / NOMINAL_START) if figure.scale == "scaled" else 1.0
    mark = "*" if figure.scale == "scaled" else ""
    floor = "" if figure.floor is None else f"{_number(figure.floor)} ({figure.floor_is})"
    sign = ">=" if figure.at_least else "<="
    bounds = [
        "" if bound is None else f"{sign} {_number(bound * grows)}{mark}"
        for bound in (figure.target, figure.stretch)
    ]
    return (figure.what, f"{_number(figure.value)} {figure.unit}", floor, *bounds, _verdict(figure, grows))


def _verdict(figure: Figure, grows: float) -> str:
    def met(bound: float) -> bool:
        return figure.value >= bound if figure.at_least else figure.value <= bound * grows

    if math.isnan(figure.value):
        return "?"
    if figure.stretch is not None and met(figure.stretch):
        return "stretch"
    return "met" if met(figure.target) else "MISSED"


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _line(cells: tuple[str, ...]) -> str:
    widths = (42, 12, 28, 11, 11, 7)
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


if __name__ == "__main__":
    sys.exit(main())
