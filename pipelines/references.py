"""Write the generated references into ``docs/reference``: ``cli.md``, ``ingest-toml.md`` and ``metrics.md``.

Usage: python -m pipelines.references [--check]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sanstream.cli.reference import cli_reference
from sanstream.config_reference import reference
from sanstream.telemetry_reference import metrics_reference

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "reference"
PAGES = {"cli.md": cli_reference, "ingest-toml.md": reference, "metrics.md": metrics_reference}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, fail where a page is out of date")
    check = parser.parse_args().check
    stale = []
    for name, write in PAGES.items():
        file, text = FOLDER / name, write()
        if check:
            stale += [name] if not file.exists() or file.read_text(encoding="utf-8") != text else []
        else:
            FOLDER.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    for name in stale:
        print(f"{FOLDER / name} is out of date; run: python -m pipelines.references", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
