"""``reencode``."""

from __future__ import annotations

import click

from sanstream.cli.output import progress_bar
from sanstream.cli.targets import check_kept

_WHY = {
    "lossy": "they lost something before and nothing looser is asked: coded anew they would lose twice, so --effort "
    "and --bank do nothing to them",
    "no_smaller": "coded anew, within what is left of the quality asked, they would not get smaller",
}
"""Why segments were carried over that were asked to be encoded."""


@click.command(short_help="Make an archive anew: quality, effort, bank, container.")
@click.argument("source", metavar="SOURCE")
@click.option("--to", "target", required=True, metavar="TARGET", help="The archive to make; must not exist yet.")
@click.option(
    "--quality",
    "-q",
    "qualities",
    multiple=True,
    metavar="Q",
    help="As for archive; LABEL=Q for some. Channels that none names keep what they have.",
)
@click.option("--effort", type=click.Choice(["fast", "default", "thorough"]), help="Encode anew with this effort.")
@click.option(
    "--bank",
    metavar="ID|retrain",
    help="Name, hash or file of a bank; retrain: the best of all, kernels learned anew. Default: each segment's own.",
)
@click.option("--container", type=click.Choice(["zarr", "parquet"]), help="Default: the source's.")
@click.option(
    "--shard", "shard_s", type=float, metavar="SECONDS", help="Signal in one object; default: an hour at most."
)
@click.option("--join", is_flag=True, help="Join consecutive segments that are encoded anew, up to a day long.")
@click.option(
    "--workers", type=click.IntRange(1), metavar="N", help="Processes on this machine; default: one per core."
)
@click.option("--dask", metavar="ADDRESS", help="Use the workers of this Dask scheduler instead.")
def reencode(
    source: str,
    target: str,
    qualities: tuple[str, ...],
    effort: str | None,
    bank: str | None,
    container: str | None,
    shard_s: float | None,
    join: bool,
    workers: int | None,
    dask: str | None,
) -> None:
    """Make an archive anew at another quality, effort, bank, container or layout, on many processes.

    Killed at any moment, the same command goes on where it was; when all is done it does nothing. What is
    asked of a lossy source holds against the original (errors add up), or is refused. With the same quality and
    neither --effort nor --bank, blocks are carried over and nothing is decoded; those of a lossy source are even with
    them, as coded anew they would lose twice.

    \b
    Example:
      sanstream reencode 100.san --to small.san --quality prdn=9 --effort thorough
      sanstream reencode live --to s3://ward7/archive --container parquet
      sanstream reencode ward.san --to best.san --effort thorough --bank retrain --dask tcp://scheduler:8786
    """
    from sanstream.reencode import reencode as run

    if workers is not None and dask is not None:
        raise click.UsageError("--workers starts processes here, --dask uses those of a cluster: give one of them")
    if join and not (qualities or effort or bank):
        raise click.UsageError("--join makes one segment of several by encoding them anew: give --effort, too")
    check_kept(target)
    with progress_bar("reencode") as progress:
        done = run(
            source,
            to=target,
            quality=qualities,
            effort=effort,
            bank=bank,
            container=container,
            shard_s=shard_s,
            join=join,
            workers=workers,
            dask=dask,
            progress=progress,
        )
    rate = 8 * done["coded_bytes"] / max(1, done["n_samples"])
    counts = done["segments"]
    what = "is there already" if done["already"] else f"{counts['encoded']} encoded, {counts['moved']} carried over"
    for why, count in done["carried"].items():
        if count and not done["already"]:
            click.echo(f"segments carried over as they were: {count}; {_WHY[why]}", err=True)
    click.echo(f"{target}: {done['n_samples']:,} samples, {rate:.3f} bit/sample; segments: {what}", err=True)
