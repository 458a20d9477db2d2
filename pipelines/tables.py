"""Fill the measured tables of the documentation from docs/measured/*.jsonl.

A region ``<!-- measured:NAME -->`` ... ``<!-- /measured:NAME -->`` receives the rows of
``docs/measured/NAME.jsonl``: one JSON object a line, keys are columns in order of appearance.
A key that starts with ``_`` (machine, commit, date) is kept in the file and left out of the table.

Usage: python pipelines/tables.py [--check] [FILE.md ...]      (default: README.md and docs/**/*.md)
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
REGION = re.compile(r"(<!-- measured:([a-z0-9_-]+) -->\n).*?(<!-- /measured:\2 -->)", re.DOTALL)


def read_rows(file: Path) -> list[dict[str, Any]]:
    """Read one JSON object a line; a bad line is named.

    Raises
    ------
    SystemExit
        On a line that is no JSON object.
    """
    rows = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise SystemExit(f"{file}:{number}: {error}") from None
        if not isinstance(row, dict):
            raise SystemExit(f"{file}:{number}: expected a JSON object, found {type(row).__name__}")
        rows.append(row)
    return rows


def format_cell(value: object) -> str:
    """Write one value: floats with three decimals, nothing as a dash."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}"
    return str(value).replace("|", "\\|")


def format_table(rows: list[dict[str, Any]]) -> str:
    """Write rows as a Markdown table, numbers aligned to the right."""
    columns = [c for c in dict.fromkeys(key for row in rows for key in row) if not c.startswith("_")]
    numeric = [all(isinstance(row.get(c), int | float | None) for row in rows) for c in columns]
    lines = ["| " + " | ".join(columns) + " |", "|" + "|".join("--:" if n else "---" for n in numeric) + "|"]
    lines += ["| " + " | ".join(format_cell(row.get(c)) for c in columns) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def fill(text: str, folder: Path) -> str:
    """Return ``text`` with every region filled; one without a file, or with an empty one, stays empty."""

    def table(match: re.Match[str]) -> str:
        file = folder / f"{match.group(2)}.jsonl"
        rows = read_rows(file) if file.is_file() else []
        return match.group(1) + (format_table(rows) if rows else "") + match.group(3)

    return REGION.sub(table, text)


def main() -> int:
    """Rewrite the files, or with ``--check`` say which are out of date."""
    parser = argparse.ArgumentParser(description="Fill the measured tables of the documentation.")
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when a file is out of date")
    options = parser.parse_args()
    stale = 0
    for file in options.files or [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        old = file.read_text(encoding="utf-8")
        new = fill(old, ROOT / "docs" / "measured")
        if new == old:
            continue
        stale += 1
        print(f"{file}: {'out of date' if options.check else 'rewritten'}", file=sys.stderr)
        if not options.check:
            file.write_text(new, encoding="utf-8")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
