"""What commands print: JSON or aligned tables on stdout, progress on a terminal's stderr."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON; a stable contract for scripts.")

Progress = Callable[[str, int, int], None]
"""Takes the name of what is at work, what is done and what there is to do, in samples."""


def print_json(value: object) -> None:
    """Print one JSON document; what JSON cannot hold (infinite, not a number) becomes null."""
    click.echo(json.dumps(_finite(value), indent=2, ensure_ascii=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def number(value: float | None, digits: int = 3) -> str:
    """Write a figure for people; a dash where there is none."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.{digits}f}" if math.isfinite(value) else "inf"


def print_table(
    head: Sequence[str], rows: Sequence[Sequence[object]], *, styles: Sequence[Mapping[str, Any]] | None = None
) -> None:
    """Print an aligned table: words to the left, numbers to the right; ``styles`` colour rows on a terminal."""
    cells = [list(head), *[[str(c) for c in row] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    right = [bool(rows) and all(_is_number(row[i]) for row in cells[1:]) for i in range(len(head))]
    for row, style in zip(cells, [{}, *(styles or [{}] * len(rows))], strict=True):
        line = "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True))
        click.echo(click.style(line.rstrip(), **style) if style else line.rstrip())


def _is_number(cell: str) -> bool:
    return cell == "-" or cell.replace(",", "").lstrip("-").replace(".", "", 1).isdigit() or cell == "inf"


@contextmanager
def progress_bar(label: str) -> Iterator[Progress | None]:
    """Show a progress bar on stderr while the block runs; None where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=1000, label=label, file=sys.stderr, show_pos=False) as bar:

        def advance(name: str, done: int, total: int) -> None:
            bar.label = f"{label} {name}"
            bar.update(int(1000 * done / max(total, 1)) - bar.pos)

        yield advance
