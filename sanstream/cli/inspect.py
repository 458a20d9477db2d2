"""Reading commands: ``info``, ``verify``, ``records``, ``evaluate``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from sanstream.cli.exits import BAD
from sanstream.cli.output import Progress, json_option, number, print_json, print_table, progress_bar

if TYPE_CHECKING:
    from sanstream.evaluate_report import Report
    from sanstream.signal import Recording


@click.command(short_help="Say what an archive holds.")
@click.argument("archive", metavar="ARCHIVE")
@json_option
def info(archive: str, as_json: bool) -> None:
    """Say what an archive holds: recordings, streams, channels, qualities asked and reached, bytes.

    Coded bytes are blocks, tables, checksums and adapted banks; stored bytes are everything on disk.

    \b
    Example:
      sanstream info 100.san
      sanstream info 100.san --json | jq '.recordings[].streams[].bits_per_sample'
    """
    import sanstream

    with sanstream.open(archive) as opened:
        found = opened.info()
    if as_json:
        print_json(found)
        return
    stored = found["stored_bytes"]
    parts = ", ".join(f"{name} {size:,}" for name, size in stored.items() if name != "total")
    click.echo(f"{archive}: container {found['container']}, format {found['format_version']}")
    click.echo(f"coded {found['coded_bytes']:,} bytes, stored {stored['total']:,} bytes ({parts})\n")
    head = "recording stream channel unit Hz samples bit/sample quality prdn-mean prdn-max rmse max-error phi".split()
    print_table(head, [row for recording in found["recordings"] for row in _channel_rows(recording)])
    for recording in found["recordings"]:
        for line in _origin_lines(recording):
            click.echo(line)


def _origin_lines(recording: dict[str, Any]) -> Iterator[str]:
    """Say what a re-encoded recording was made from, and what holds against the samples before the first loss."""
    if "parent" in recording:
        parent = recording["parent"]
        asked = ", ".join(parent["quality"]) or "as it was"
        yield (
            f"\n{recording['name']}: made by sanstream {parent['sanstream']} from manifest {parent['manifest'][:16]}; "
            f"quality {asked}, effort {parent['effort'] or '-'}, bank {parent['bank'] or '-'}"
        )
    for stream in recording["streams"]:
        for channel in stream["channels"]:
            if "original" in channel:
                held = channel["original"]
                yield (
                    f"{stream['name']} {channel['name']}, every window against the original: at most "
                    f"prdn {number(held['prdn'])}, rmse {number(held['rmse_adu'])}, "
                    f"max-error {number(held['max_error_adu'])}"
                )


def _channel_rows(recording: dict[str, Any]) -> list[list[object]]:
    rows: list[list[object]] = []
    for stream in recording["streams"]:
        for channel in stream["channels"]:
            reached = channel["reached"]
            figures = [
                number(reached.get(k)) for k in ("prdn_mean", "prdn_max", "rmse_adu", "max_error_adu", "phi_mean")
            ]
            rows.append(
                [
                    recording["name"],
                    stream["name"],
                    channel["name"],
                    channel["unit"] or "-",
                    f"{float(stream['rate_hz']):g}",
                    stream["n_samples"],
                    number(stream["bits_per_sample"]),
                    channel["quality"],
                    *figures,
                ]
            )
    return rows


@click.command(short_help="Find any changed, truncated or missing file.")
@click.argument("archive", metavar="ARCHIVE")
@click.option("--deep", is_flag=True, help="Decode every block as well.")
@json_option
def verify(archive: str, deep: bool, as_json: bool) -> int:
    """Find any changed, truncated or missing file of an archive, metadata and banks included.

    Prints one problem a line and ends with 1 when there is one.

    \b
    Example:
      sanstream verify 100.san --deep
    """
    from sanstream.archive import verify as run

    problems = [dict(p.__dict__) for p in run(archive, deep=deep)]
    if as_json:
        print_json({"sound": not problems, "problems": problems})
    else:
        for problem in problems:
            click.echo(": ".join(filter(None, problem.values())))
    if problems:
        click.echo(f"error: {archive}: {len(problems)} problems; restore the named files from a copy", err=True)
        return BAD
    click.echo(f"{archive}: sound", err=True)
    return 0


@click.command(short_help="Export activations as a Parquet table.")
@click.argument("archive", metavar="ARCHIVE")
@click.option("--to", "target", required=True, metavar="FILE.parquet", help="Target file, or - for stdout.")
@click.option("--recording", metavar="NAME", help="Only this recording; default: all.")
@click.option("--from", "start", metavar="T", help="First time: 2024-05-01T12:00:00+02:00, +90s or @7200.")
@click.option("--until", metavar="T", help="Time to stop before.")
def records(archive: str, target: str, recording: str | None, start: str | None, until: str | None) -> None:
    """Export the activations (kernel, time, amplitude per channel) as a table for DuckDB, Polars or Spark.

    An amplitude is relative to its kernel: sanstream.group_state.kernel_shapes(coding, bank, channel) gives
    each kernel in digital steps at amplitude 1 (FORMAT.md clause 7.4: taps * 2^shift / 2048). Kernels whose id
    begins with 00 are components: they refine the activation before them, at the same sample.

    \b
    Example:
      sanstream records 100.san --to beats.parquet --until +10m
      duckdb -c "select kernel_uid, count(*) from 'beats.parquet' where kernel_uid not like '00%' group by all"
    """
    from sanstream.transfer_records import export_records

    count = export_records(archive, to=target, recording=recording, t0=start, t1=until)
    click.echo(f"{count:,} activations", err=True)


@click.command(short_help="Compare an archive with its source, window by window.")
@click.argument("source", metavar="SOURCE")
@click.argument("archive", metavar="ARCHIVE")
@click.option("--recording", metavar="NAME", help="Recording that the source became; default: by its name.")
@click.option("--rate", metavar="HZ", help="Sampling rate of a source that names none.")
@click.option("--unit", metavar="UNIT", help="Physical unit of a source that names none.")
@click.option(
    "--report",
    "folder",
    metavar="FOLDER",
    help="Also write report.html and report.json into this new folder: quality, the worst windows, and whether the "
    "signal still serves (QRS detection, rhythm, ST level, EEG bands, pressure peaks).",
)
@json_option
def evaluate(
    source: str,
    archive: str,
    recording: str | None,
    rate: str | None,
    unit: str | None,
    folder: str | None,
    as_json: bool,
) -> int:
    """Decode an archive, compare it with its source and fail where a window misses the quality asked.

    Per channel and window: PRDN, PRD_1024, PRD, RMSE, maximum error, SNR, phi, bits. The table shows each
    channel's mean and worst window; --json has them all. With --report also a page for people.

    \b
    Example:
      sanstream evaluate mitdb/100 100.san
      sanstream evaluate mitdb/100 100.san --json > figures.json
      sanstream evaluate mitdb/100 100.san --report 100-report
    """
    from sanstream.formats import read
    from sanstream.signal import parse_rate

    with progress_bar("evaluate") as progress:
        original = read(source, rate=parse_rate(rate) if rate else None, unit=unit)
        report, verdict = _evaluated(original, archive, recording, folder, progress)
    if as_json:
        print_json(report.to_dict())
    else:
        _print_report(report)
    if verdict:
        click.echo(f"{verdict}\n{folder}/report.html", err=True)
    for line in report.broken[:10]:
        click.echo(f"error: {line}", err=True)
    if len(report.broken) > 10:
        click.echo(f"error: {len(report.broken) - 10} more windows miss their quality; see --json", err=True)
    return BAD if report.broken else 0


def _evaluated(
    source: Recording, archive: str, recording: str | None, folder: str | None, progress: Progress | None
) -> tuple[Report, str]:
    """Evaluate, and write the report where one is asked for; returns its verdict, too."""
    if folder is None:
        from sanstream.evaluate import evaluate as run

        return run(source, archive, recording=recording, progress=progress), ""
    from sanstream.report import report as write
    from sanstream.report.verdict import verdict

    found = write(source, archive, to=folder, recording=recording, progress=progress)
    return found.figures, verdict(found)


def _print_report(report: Report) -> None:
    rows = []
    for stream in report.streams:
        for channel in stream.channels:
            figures = channel.summary()
            windows = figures.pop("n_windows")
            rows.append([stream.name, channel.name, channel.quality, windows, *(number(v) for v in figures.values())])
    head = (
        "stream channel quality windows prdn-mean prdn-max prdn prd1024 prd rmse max-error snr phi bit/sample".split()
    )
    print_table(head, rows)
