"""``banks pin`` and ``banks rollback``: what an operator decides about a live stream's kernels."""

from __future__ import annotations

from pathlib import Path

import click

_STATE = click.Path(file_okay=False, exists=True, path_type=Path)


@click.command(short_help="Hold a live stream to a bank.")
@click.argument("state", metavar="STATE_DIR", type=_STATE)
@click.argument("stream", metavar="RECORDING/STREAM")
@click.option(
    "--bank", required=True, metavar="BANK", help="A bank's name or id; current: what runs now; auto: lift the pin."
)
def pin(state: Path, stream: str, bank: str) -> None:
    """Hold a stream of a daemon to a bank: it is no longer retrained, until the pin is lifted.

    Works while the daemon runs, which takes it over within seconds, with a new segment where the bank changes.
    STATE_DIR is the daemon's state folder.

    \b
    Example:
      sanstream banks pin live.state bed-7/250hz --bank current
      sanstream banks pin live.state bed-7/250hz --bank auto
    """
    from sanstream.daemon.pins import pin

    click.echo(f"{stream}: {pin(state, stream, bank)}")


@click.command(short_help="Take a live stream back to its kernels before.")
@click.argument("state", metavar="STATE_DIR", type=_STATE)
@click.argument("stream", metavar="RECORDING/STREAM")
def rollback(state: Path, stream: str) -> None:
    """Take a stream of a daemon back to the kernels that it had before the last adoption.

    Works while the daemon runs, which begins a new segment with them within seconds. Nothing that is stored changes.
    To keep it there, pin it: sanstream banks pin STATE_DIR RECORDING/STREAM --bank current

    \b
    Example:
      sanstream banks rollback live.state bed-7/250hz
    """
    from sanstream.daemon.pins import rollback

    rollback(state, stream)
    click.echo(f"{stream}: asked for")
