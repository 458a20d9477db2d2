"""Small pieces of HTML: escaped text, tables that scroll, figures that carry their picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from sanstream.report.pictures import data_uri

MOST_ROWS = 16


def text(value: object) -> str:
    """Escape."""
    return escape(str(value), quote=True)


def number(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    """Write a figure; a dash where there is none."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞"
    written = f"{value:+.{digits}f}" if sign else f"{value:,.{digits}f}"
    # no sign of what is nothing at this many digits
    return written.lstrip("+-") if sign and float(written) == 0 else written.replace("-", "−")


def moment(seconds: float) -> str:
    """Write a time from the start: ``1:02:03.5``."""
    whole, rest = divmod(round(seconds, 2), 60)
    hours, minutes = divmod(int(whole), 60)
    return f"{hours}:{minutes:02d}:{rest:05.2f}".removesuffix("0").removesuffix(".0")


def duration(seconds: float) -> str:
    """Write a length of time: ``30 min``, ``4.5 h``."""
    if seconds >= 7200:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 120 else f"{seconds:.4g} s"


_LONG = ' class="wide"'
_LONG_WORDS = 40
"""Cells of more characters are broken into lines."""


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    words: int = 2,
    marks: Sequence[str] = (),
    caption: str = "",
) -> str:
    """Return a table; cells are escaped.

    Parameters
    ----------
    head : sequence of str
    rows : sequence of sequence of str
    words : int
        Columns from the left that hold words; the others hold numbers, to the right.
    marks : sequence of str
        A class for each row: ``""``, ``"warn"``, ``"bad"``.
    caption : str
    """
    css = ["" if i < words else ' class="n"' for i in range(len(head))]
    lines = ["<div class=scroll><table>"]
    if caption:
        lines.append(f"<caption>{text(caption)}</caption>")
    lines.append("<thead><tr>" + "".join(f"<th scope=col{c}>{text(h)}</th>" for h, c in zip(head, css, strict=True)))
    lines.append("</tr></thead><tbody>")
    for i, row in enumerate(rows):
        mark = f' class="{marks[i]}"' if i < len(marks) and marks[i] else ""
        cells = (
            f"<td{c or (_LONG if len(v) > _LONG_WORDS else '')}>{text(v)}</td>" for v, c in zip(row, css, strict=True)
        )
        lines.append(f"<tr{mark}>" + "".join(cells) + "</tr>")
    return "\n".join([*lines, "</tbody></table></div>"])


def long_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, words: int, marks: Sequence[str]) -> str:
    """Return a table whose rows beyond the first few are folded away."""
    shown = table(head, rows[:MOST_ROWS], words=words, marks=marks)
    if len(rows) <= MOST_ROWS:
        return shown
    rest = table(head, rows[MOST_ROWS:], words=words, marks=marks[MOST_ROWS:])
    return f"{shown}<details><summary>{len(rows) - MOST_ROWS:,} more channels</summary>{rest}</details>"


def figure(svg: bytes, caption: str) -> str:
    """Return a figure with its picture inside; ``caption`` also says what it shows to those who do not see it."""
    return (
        f'<figure><div class=scroll><img alt="{text(caption)}" src="{data_uri(svg)}"></div>'
        f"<figcaption>{text(caption)}</figcaption></figure>"
    )
