"""Where a command may write an archive."""

from __future__ import annotations

import click


def check_kept(target: str) -> None:
    """Refuse an archive in memory, which is there as long as the process: a script may want it, a command cannot.

    Raises
    ------
    click.UsageError
    """
    if target.partition("://")[0].lower() == "memory":
        raise click.UsageError(
            f"an archive at {target} would be gone with this command; give a folder or an address of a store"
        )
