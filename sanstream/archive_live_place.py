"""Where the state folder of the daemon is that writes to an archive."""

from __future__ import annotations

import json
import os
from pathlib import Path

from sanstream.archive_manifest import LIVE


def read_place(root: Path) -> Path | None:
    """Return the state folder that an archive names.

    Parameters
    ----------
    root : Path
        The archive's folder.

    Returns
    -------
    Path or None
        None when no daemon wrote to it, or when it is a copy of the archive that the daemon wrote to.
    """
    if not os.path.exists(os.path.join(root, LIVE)):
        return None
    try:
        values = json.loads((root / LIVE).read_bytes())
        state, archive = Path(values["state_dir"]), Path(values["archive"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return state if archive.resolve() == root.resolve() else None


def is_shared(root: Path) -> bool:
    """Tell whether several daemons write to an archive's folder; a copy of one is nobody's."""
    try:
        values = json.loads((root / LIVE).read_bytes())
        return values["shared"] is True and Path(values["archive"]).resolve() == root.resolve()
    except (OSError, ValueError, KeyError, TypeError):
        return False
