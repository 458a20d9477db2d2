"""``archive`` and ``restore``."""

from __future__ import annotations

from fractions import Fraction

import click

from sanstream.cli.output import progress_bar
from sanstream.cli.targets import check_kept


@click.command(short_help="Turn recordings into an archive.")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--to", "target", required=True, metavar="ARCHIVE", help="The archive to make; must not exist yet.")
@click.option(
    "--quality",
    "-q",
    "qualities",
    multiple=True,
    metavar="Q",
    help="lossless (default), prdn=5, rmse=10uV, max-error=4adu, bits=0.5, sparse; LABEL=Q for some. A later one wins.",
)
@click.option(
    "--effort",
    type=click.Choice(["fast", "default", "thorough"]),
    default="default",
    show_default=True,
    help="Work spent on making it smaller; every effort keeps the quality asked.",
)
@click.option("--bank", metavar="ID", help="Name, hash or file of the bank to start from; default: by content.")
@click.option("--container", type=click.Choice(["zarr", "parquet"]), help="Default: zarr; with --append, as it is.")
@click.option("--append", is_flag=True, help="Add recordings to an archive that is there.")
@click.option("--deidentify", is_flag=True, help="Leave out patient fields, comments and the calendar date.")
@click.option("--self-contained", is_flag=True, help="Put whole banks into the array metadata.")
@click.option("--rate", metavar="HZ", help="Sampling rate of a source that names none, such as 250 or 62500/1001.")
@click.option("--unit", metavar="UNIT", help="Physical unit of a source that names none.")
@click.option(
    "--block", "block_s", type=float, metavar="S", help="Block length, 1 to 60 s; short for quick short reads."
)
@click.option("--apart", is_flag=True, help="Let every channel decode alone: larger, quicker to read one.")
def archive(
    sources: tuple[str, ...],
    target: str,
    qualities: tuple[str, ...],
    effort: str,
    bank: str | None,
    container: str | None,
    append: bool,
    deidentify: bool,
    self_contained: bool,
    rate: str | None,
    unit: str | None,
    block_s: float | None,
    apart: bool,
) -> None:
    """Turn WFDB, EDF, BDF, CSV, Parquet or NumPy recordings into one archive.

    A WFDB record is named with or without its extension. Several sources become several recordings.
    Every window and channel is checked against its quality before it is stored.

    \b
    Example:
      sanstream archive mitdb/100 --to 100.san --quality prdn=5
      sanstream archive bed.edf --to bed.san --quality prdn=5 --quality 'PLETH=lossless'
      sanstream archive log.csv --to log.san --rate 250 --unit mV
      sanstream archive ward/85594648 --to quick.san --effort fast --block 10 --apart
    """
    from sanstream.bank import SUFFIX
    from sanstream.bank_places import choose_bank
    from sanstream.signal import parse_rate
    from sanstream.transfer import archive as run

    check_kept(target)
    exact_rate: Fraction | None = parse_rate(rate) if rate else None
    if bank is not None and not bank.endswith(SUFFIX):
        bank = choose_bank(bank).bank.id
    with progress_bar("archive") as progress:
        done = run(
            [*sources],
            to=target,
            quality=qualities,
            effort=effort,
            bank=bank,
            container=container,
            append=append,
            deidentify=deidentify,
            self_contained=self_contained,
            rate=exact_rate,
            unit=unit,
            progress=progress,
            block_s=block_s,
            apart=apart,
        )
    for note in done["notes"]:
        click.echo(f"note: {note}", err=True)
    rate_of = 8 * done["coded_bytes"] / max(1, done["n_samples"])
    click.echo(
        f"{target}: {done['n_samples']:,} samples of {', '.join(done['recordings'])}, {rate_of:.3f} bit/sample",
        err=True,
    )


@click.command(short_help="Give recordings back as files.")
@click.argument("archive", metavar="ARCHIVE")
@click.option(
    "--to",
    "target",
    required=True,
    metavar="DIR",
    help="Folder for the files; none is overwritten.",
)
@click.option("--recording", metavar="NAME", help="Only this recording; default: all.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["wfdb", "edf", "bdf", "csv", "parquet", "npy"]),
    help="Default: the format that the source had.",
)
@click.option("--from", "start", metavar="T", help="First time: 2024-05-01T12:00:00+02:00, +90s or @7200.")
@click.option("--until", metavar="T", help="Time to stop before.")
def restore(
    archive: str, target: str, recording: str | None, format_: str | None, start: str | None, until: str | None
) -> None:
    """Give recordings back, with headers, annotations, units, gaps and start time; file names go to stdout.

    Of several recordings, those that cannot be written are named on stderr, and the exit code is 1.

    \b
    Example:
      sanstream restore 100.san --to restored
      sanstream restore 100.san --to minute --from +10m --until +11m --format edf
    """
    from sanstream.errors import RestoreError
    from sanstream.transfer import restore as run

    failures = {}
    try:
        files = run(archive, to=target, recording=recording, format=format_, t0=start, t1=until)
    except RestoreError as error:
        files, failures = error.written, error.failures
    for file in files:
        click.echo(str(file))
    for name, why in failures.items():
        click.echo(f"error: {name}: {' '.join(str(why).split())}", err=True)
    if failures:
        raise click.exceptions.Exit(1)
