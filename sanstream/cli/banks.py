"""``banks`` and ``train``."""

from __future__ import annotations

from pathlib import Path

import click

from sanstream.cli.banks_live import pin, rollback
from sanstream.cli.output import json_option, number, print_json, print_table


@click.group(short_help="List, show, plot, install and pin banks.")
def banks() -> None:
    """Kernels and trained priors that archives start from.

    A bank is looked up in the package, then in the archive's own copies, then in $SANSTREAM_BANKS, then in
    the user's data folder.

    \b
    Example:
      sanstream banks list
    """


@banks.command("list", short_help="List the banks on this machine.")
@json_option
def list_banks(as_json: bool) -> None:
    """List the banks on this machine.

    \b
    Example:
      sanstream banks list --json
    """
    from sanstream.bank_places import installed_banks

    found = [place.summary() for place in installed_banks()]
    if as_json:
        print_json({"banks": found})
        return
    print_table(
        ["name", "id", "kernels", "bytes", "place"],
        [[b["name"], b["id"][:12], b["n_kernels"], b["n_bytes"], b["place"]] for b in found],
    )


@banks.command(short_help="Show the kernels of a bank.")
@click.argument("bank", metavar="BANK")
@json_option
def show(bank: str, as_json: bool) -> None:
    """Show a bank: BANK is a name, the first digits of a hash, or a .sanbank file.

    \b
    Example:
      sanstream banks show ecg
    """
    from sanstream.bank_places import choose_bank

    found = choose_bank(bank).details()
    if as_json:
        print_json(found)
        return
    click.echo(f"{found['name']}  {found['id']}  {found['n_bytes']} bytes, {found['rate_hz']:g} Hz  {found['place']}\n")
    print_table(
        ["kernel", "uid", "taps", "seconds", "fiducial"],
        [[i, k["uid"], k["n_taps"], number(k["duration_s"]), k["fiducial"]] for i, k in enumerate(found["kernels"])],
    )


@banks.command(short_help="Draw the kernels of a bank.")
@click.argument("bank", metavar="BANK")
@click.option(
    "--to", "target", required=True, type=click.Path(path_type=Path), help="Picture to write (.png, .svg, .pdf)."
)
def plot(bank: str, target: Path) -> None:
    """Draw a bank's kernels.

    \b
    Example:
      sanstream banks plot ecg --to ecg.png
    """
    from sanstream.bank_places import choose_bank
    from sanstream.plot import plot_bank

    plot_bank(choose_bank(bank).bank, target)
    click.echo(str(target))


@banks.command(short_help="Install the banks that an archive carries.")
@click.argument("archive", metavar="ARCHIVE")
@click.option(
    "--to", "folder", type=click.Path(path_type=Path), help="Default: $SANSTREAM_BANKS or the user's data folder."
)
def install(archive: str, folder: Path | None) -> None:
    """Install the banks that an archive carries, or one .sanbank file, so that zarr.open finds them.

    \b
    Example:
      sanstream banks install 100.san
    """
    from sanstream.archive_banks import install_from

    for file in install_from(archive, folder):
        click.echo(str(file))


banks.add_command(pin)
banks.add_command(rollback)


@click.command(short_help="Train a bank on recordings.")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--to", "target", required=True, type=click.Path(path_type=Path), help="New bank file (.sanbank).")
@click.option("--name", help="Name of the bank; default: the target's.")
@click.option("--kernels", "n_kernels", type=click.IntRange(0, 16), default=4, show_default=True, help="The most.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same gives the same bank.")
@click.option("--rate", metavar="HZ", help="Sampling rate of sources that name none.")
@click.option("--unit", metavar="UNIT", help="Physical unit of sources that name none.")
def train(
    sources: tuple[str, ...],
    target: Path,
    name: str | None,
    n_kernels: int,
    seed: int,
    rate: str | None,
    unit: str | None,
) -> None:
    """Train kernels and priors on recordings and write them as a bank.

    Kernels are learned at the rate that most sources have; priors from all of them.

    \b
    Example:
      sanstream train mitdb/1* --to cardiology.sanbank
      sanstream archive mitdb/200 --to 200.san --bank cardiology.sanbank
    """
    from sanstream.bank_places import check_new_bank, place_bank
    from sanstream.formats import distinct, read
    from sanstream.signal import parse_rate
    from sanstream.train import train_on

    check_new_bank(target)
    exact = parse_rate(rate) if rate else None
    recordings = [read(source, rate=exact, unit=unit) for source in distinct(sources)]
    bank = train_on(name or target.stem, recordings, n_kernels=n_kernels, seed=seed)
    place_bank(bank, target)
    click.echo(f"{target}: {len(bank.kernels)} kernels, {len(bank.data):,} bytes, {bank.id[:12]}", err=True)
