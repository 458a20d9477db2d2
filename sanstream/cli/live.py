"""Live commands: ``ingest``, ``delete``, ``recover``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sanstream.cli.exits import USAGE, needed_by
from sanstream.cli.output import json_option, print_json
from sanstream.cli.targets import check_kept

if TYPE_CHECKING:
    from sanstream.config import Settings

FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command(short_help="Archive live signals: the daemon.")
@click.argument("urls", nargs=-1, metavar="[URL]...")
@click.option("--to", metavar="ARCHIVE", help="Folder, made when it is not there, or s3://, gs://, az://.")
@click.option("--config", type=click.Path(dir_okay=False), metavar="FILE", help="ingest.toml; options go before it.")
@click.option("--state", metavar="DIR", help="Folder for journal and ledger, on a local disk; default: DIR.state.")
@click.option(
    "--quality",
    "qualities",
    multiple=True,
    metavar="QUALITY",
    help="lossless (default), prdn=5, rmse=10uV, max-error=4adu, ...; ecg=QUALITY or LABEL=QUALITY for some channels.",
)
@click.option("--effort", type=click.Choice(["fast", "default"]), help="Work spent on each block.")
@click.option("--name", metavar="NAME", help="Name of the one feed given as URL, in metrics and logs.")
@click.option("--listen", metavar="ADDRESS", help="Where metrics and status are served; default: 127.0.0.1:9464.")
@click.option(
    "--check", "only_check", is_flag=True, help="Connect, try the disks, print the configuration; store nothing."
)
@click.option("--log-json", is_flag=True, help="Write log lines as JSON.")
def ingest(
    urls: tuple[str, ...],
    to: str | None,
    config: str | None,
    state: str | None,
    qualities: tuple[str, ...],
    effort: str | None,
    name: str | None,
    listen: str | None,
    only_check: bool,
    log_json: bool,
) -> int:
    """Archive live signals until stopped; what was acknowledged survives power cuts and full disks.

    URL is lsl://, mqtt://, nats://, kafka://, mllp://, file://, stdin: or sim://. The first SIGTERM or Ctrl-C
    finishes what is there and ends, the second ends at once; either way nothing acknowledged is lost. With
    sources that end (files, stdin) it ends with them. Passwords come from the environment: $SANSTREAM_PASSWORD
    for URLs given here, password_env = "NAME" in a file.

    \b
    Example:
      sanstream ingest lsl://EEG --to eeg
      sanstream ingest --config ingest.toml --check
      sanstream ingest --config ingest.toml --log-json
    """
    from sanstream.config_read import load_settings

    settings = load_settings(
        config, urls=urls, to=to, state_dir=state, qualities=qualities, effort=effort, name=name, listen=listen
    )
    check_kept(settings.archive.url)
    if only_check:
        return _check(settings)
    if not settings.feeds:
        raise click.UsageError("no feed: give a URL, or --config FILE with a [[feed]]")
    with needed_by("the daemon", "live"):
        from sanstream.daemon.logs import set_up_logs
        from sanstream.daemon.run import ingest as run

    set_up_logs(as_json=log_json)
    with _private():
        return run(settings)


@contextmanager
def _private() -> Iterator[None]:
    """Let what is written meanwhile be its owner's alone."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _check(settings: Settings) -> int:
    with needed_by("the daemon", "live"):
        from sanstream.daemon.check import FAILED, WARNING, check, report

    click.echo(report(settings))
    colours = {FAILED: "red", WARNING: "yellow"}
    states = []
    with _private():
        for finding in check(settings):
            states.append(finding.state)
            click.echo(click.style(finding.state, fg=colours.get(finding.state, "green")) + f": {finding.text}")
    failed = states.count(FAILED)
    if failed:
        click.echo(f"error: {failed} of {len(states)} checks failed; see above", err=True)
    return USAGE if failed else 0


@click.command(short_help="Delete a recording, or a stretch of it, everywhere.")
@click.argument("archive", metavar="ARCHIVE")
@click.argument("recording", metavar="RECORDING")
@click.option("--state", type=FOLDER, metavar="DIR", help="The daemon's state folder; default: what the archive names.")
@click.option("--from", "start", metavar="T", help="First time: 2024-05-01T12:00:00+02:00, +90s or @7200.")
@click.option("--until", metavar="T", help="Time to stop before.")
@click.option("--dry-run", is_flag=True, help="Say what would go; delete nothing.")
@json_option
def delete(
    archive: str,
    recording: str,
    state: Path | None,
    start: str | None,
    until: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Delete a recording from a live archive, and from the daemon's journal, ledger and reservoir.

    With --from and --until, whole segments that lie within go. What goes is printed.

    \b
    Example:
      sanstream delete live bed-7 --dry-run
      sanstream delete live bed-7 --until 2024-05-01T00:00:00Z
    """
    from sanstream.daemon.delete import delete as run

    with _private():
        gone = run(archive, recording, state_dir=state, start=start, until=until, dry_run=dry_run)
    if as_json:
        print_json(gone)
        return
    verb = "would delete" if dry_run else "deleted"
    for what, amount in gone.items():
        click.echo(f"{verb} {what.replace('_', ' ')}: {amount}")


@click.command(short_help="Bring a stopped daemon's state into its archive.")
@click.argument("state_dir", metavar="STATE_DIR", type=FOLDER)
@click.option("--to", "archive", metavar="ARCHIVE", help="Archive to finish; default: the one that the state names.")
@click.option(
    "--elsewhere", is_flag=True, help="Also to an archive that nothing shows to be the state's; no other gets it then."
)
def recover(state_dir: Path, archive: str | None, elsewhere: bool) -> int:
    """Bring everything that a stopped daemon has acknowledged into its archive, without any feed.

    \b
    Example:
      sanstream recover live.state
      sanstream recover /mnt/dead/live.state --to s3://ward7/live
    """
    with needed_by("the daemon", "live"):
        from sanstream.daemon.logs import set_up_logs
        from sanstream.daemon.run import recover as run

    set_up_logs()
    with _private():
        return run(state_dir, archive, elsewhere=elsewhere)
