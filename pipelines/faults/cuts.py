"""Cut the power of engines, many times; ``python -m pipelines.faults power`` does it."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path
from typing import Any

from pipelines.faults.power import cut_and_go_on

Row = dict[str, Any]
PART = 100
N_OPERATIONS = 720
"""A life has about so many."""


def cuts(seed: int) -> Row:
    """Cut the power of :data:`PART` lives, every second one soon after a kill."""
    rng = random.Random(seed)
    began, seen = time.monotonic(), 0
    for i in range(PART):
        how: Row = {"at": rng.randint(1, N_OPERATIONS), "tear": rng.choice(["none", "zeros", rng.randrange(1 << 30)])}
        if i % 2:
            how |= {"kill": str(how["at"]), "at": how["at"] + rng.randint(1, 80)}
        with tempfile.TemporaryDirectory() as folder:
            try:
                seen += cut_and_go_on(Path(folder), **how).lost
            except BaseException as error:
                error.add_note(f"cut_and_go_on(folder, **{how})")
                raise
    seconds = round(time.monotonic() - began, 1)
    return {"campaign": "power cut", "cuts": seen, "after a kill": PART // 2, "lost": 0, "doubled": 0, "s": seconds}
