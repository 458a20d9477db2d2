"""``simulate`` and ``demo``."""

from __future__ import annotations

from pathlib import Path

import click

from sanstream.cli.output import json_option, number, print_json, print_table


@click.command(short_help="Generate an ECG, EEG or PPG recording.")
@click.argument("kind", type=click.Choice(["ecg", "eeg", "ppg"]))
@click.option("--to", "target", required=True, type=click.Path(path_type=Path), help="Folder to write into.")
@click.option("--seconds", type=click.FloatRange(min=1, max=86400 * 7), default=60.0, show_default=True,
              help="Length of the recording.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another gives other samples.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["wfdb", "edf", "bdf", "csv", "parquet", "npy"]),
    default="wfdb",
    show_default=True,
    help="Format of the files.",
)
def simulate(kind: str, target: Path, seconds: float, seed: int, format_: str) -> None:
    """Generate a recording: the same seed gives the same samples.

    ecg: two leads with P, Q, R, S and T, beat-to-beat variation, ectopic beats, wander and muscle noise.
    eeg: eight channels with 1/f background, alpha bursts and spikes.
    ppg: a pulse wave with respiration. File names go to stdout.

    \b
    Example:
      sanstream simulate ecg --seconds 600 --to simulated
    """
    from sanstream import simulate as generators
    from sanstream.formats import write

    recording = getattr(generators, f"simulate_{kind}")(seconds, seed=seed)
    for file in write(recording, target, format=format_):
        click.echo(str(file))


@click.command(short_help="Archive, verify and restore generated signals; no network, no data.")
@click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path),
    default=Path("sanstream-demo"),
    show_default=True,
    help="Folder for archives and the picture.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another gives other samples.")
@json_option
def demo(target: Path, seed: int, as_json: bool) -> None:
    """Generate an ECG and an EEG, archive them at three qualities, verify, restore, and draw one picture.

    Prints bits per sample beside FLAC, xz, zstd and, where installed, pcodec, measured in the same run.

    \b
    Example:
      sanstream demo --to demo
    """
    from sanstream.demo import run_demo

    report = run_demo(target, seed=seed, say=lambda line: click.echo(line, err=True))
    if as_json:
        print_json(report.to_dict())
        return
    head = ["signal", "codec", "quality", "bit/sample", "worst PRDN %"]
    print_table(
        head, [[r.signal, r.codec, r.quality, number(r.bits_per_sample), number(r.prdn_max)] for r in report.rows]
    )
    click.echo(f"\nverified and restored; picture: {report.picture} ({report.seconds:.1f} s)")
