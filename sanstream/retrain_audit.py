"""Reading what a daemon decided about kernels: one JSON line a decision, in two files of bounded size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NEWER, OLDER = "audit.jsonl", "audit.1.jsonl"


def audit_rows(folder: Path) -> list[dict[str, Any]]:
    """Return all rows of a state folder, oldest first; a last one that a crash cut is left out."""
    out = []
    for path in (folder / OLDER, folder / NEWER):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                out.append(row)
    return out
