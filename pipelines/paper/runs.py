"""Finished runs: one JSON line each in a file of the work folder, so that an interrupted table goes on where it was."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Key = Mapping[str, str | int | float | bool | None]
Result = dict[str, Any]


class Runs:
    """Results under the settings that decided them.

    Parameters
    ----------
    file : Path
        JSON lines; made when the first run ends. A line torn by an interruption is run again.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._done: dict[str, Result] = {}
        if file.is_file():
            for line in file.read_text(encoding="utf-8").splitlines():
                try:
                    run = json.loads(line)
                except json.JSONDecodeError:
                    continue
                self._done[_text(run["key"])] = run["result"]

    def get(self, key: Key, make: Callable[[], Result]) -> Result:
        """Return the result of a run: the one kept, or that of ``make`` now, which is kept.

        Parameters
        ----------
        key : mapping of plain values
            All that decides the result: data, settings, seed.
        make : callable
            Gives a dict that JSON can hold.
        """
        text = _text(key)
        if text not in self._done:
            start = time.monotonic()
            result = make()
            self._keep({"key": dict(key), "result": result, "_seconds": round(time.monotonic() - start, 1)})
            # what was written, not what was made: floats and keys are the same after an interruption
            self._done[text] = json.loads(json.dumps(result))
            print(f"{' '.join(f'{v}' for v in key.values())}: {time.monotonic() - start:.1f} s", file=sys.stderr)
        return self._done[text]

    def _keep(self, run: dict[str, Any]) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a+b") as file:
            if file.tell() and not _ends_line(file):
                file.write(b"\n")
            file.write(json.dumps(run).encode() + b"\n")


def _ends_line(file: Any) -> bool:
    file.seek(-1, 2)
    return bool(file.read(1) == b"\n")


def _text(key: Key) -> str:
    return json.dumps(dict(key), sort_keys=True)
