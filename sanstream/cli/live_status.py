"""``status``: for the operator who looks for the silent bed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sanstream.cli.exits import BAD
from sanstream.cli.output import json_option, number, print_json, print_table

if TYPE_CHECKING:
    from sanstream.daemon.look import Looked

_COLOURS: tuple[Mapping[str, Any], ...] = ({}, {"fg": "yellow"}, {"fg": "red", "bold": True})
_FEEDS = "feed scheme connected queue queue-s dropped refused lag-s error".split()
_STREAMS = (
    "recording stream feed modality Hz ch age-s lag-s gaps lacking late conflicts bit/sample phi bank drift".split()
)


@click.command(short_help="Say how a daemon is: silent streams first.")
@click.option("--state", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Its state folder.")
@click.option(
    "--config", type=click.Path(dir_okay=False), metavar="FILE", help="Its ingest.toml, which names the folder."
)
@click.option("--url", metavar="URL", help="Where it answers; default: http://127.0.0.1:9464.")
@click.option("--top", type=click.IntRange(0), metavar="N", help="Show only the N worst streams.")
@json_option
def status(state: Path | None, config: str | None, url: str | None, top: int | None, as_json: bool) -> int:
    """Say how a daemon is: what keeps it from storing, its feeds, its streams with the worst first.

    A stream is silent when nothing came for 30 s. Ends with 1 when a stream is silent, a feed is not connected,
    or the daemon is not ready or does not run; then its last words are shown. The token is taken from the
    environment variable that the daemon takes it from, $SANSTREAM_TOKEN with --url.

    \b
    Example:
      sanstream status
      sanstream status --state live.state --top 10
      sanstream status --url https://ward7:9464 --json | jq '.streams[] | select(.last_sample_age_s > 30)'
    """
    from sanstream.daemon.judge import problems
    from sanstream.daemon.look import look

    if config is not None and state is None and url is None:
        from sanstream.config_read import load_settings

        state = load_settings(config).archive.state_dir
    looked = look(state_dir=state, url=url)
    wrong = problems(looked)
    if as_json:
        print_json({**looked.status, "running": looked.running, "age_s": looked.age_s, "problems": wrong})
    else:
        _print(looked, wrong, top)
    return BAD if wrong else 0


def _print(looked: Looked, wrong: list[str], top: int | None) -> None:
    from sanstream.daemon.judge import rows, state_of, worst_first

    found = looked.status
    for problem in wrong:
        click.secho(_plain(problem), fg="red", bold=True)
    if not found:
        click.echo("give --state DIR or --url URL" if looked.asked else "it has left no word of how it was")
        return
    if not looked.running:
        click.echo(f"this is what it last said, {looked.age_s:.0f} s ago:")
    streams = worst_first(found)
    click.echo(
        f"sanstream {_plain(found.get('version'))}, up {number(_number(found, 'uptime_s'), 0)} s, "
        f"{len(streams)} streams, journal {_size(found, 'journal_bytes')}, ledger {_size(found, 'ledger_bytes')}, "
        f"{_size(found, 'disk_free_bytes')} free" + ("" if wrong else "; all is well")
    )
    feeds = rows(found, "feeds")
    if feeds:
        click.echo()
        bad = [_COLOURS[0 if feed.get("connected", True) else 2] for feed in feeds]
        print_table(_FEEDS, [_feed_row(feed) for feed in feeds], styles=bad)
    if streams:
        click.echo()
        shown = streams if top is None else streams[:top]
        print_table(_STREAMS, [_stream_row(s) for s in shown], styles=[_COLOURS[state_of(s)] for s in shown])
        if len(shown) < len(streams):
            click.echo(f"and {len(streams) - len(shown)} more")


def _feed_row(feed: Mapping[str, Any]) -> list[object]:
    figures = [
        number(_number(feed, key), digits)
        for key, digits in (("queue_depth", 0), ("queue_s", 1), ("dropped", 0), ("refused", 0))
    ]
    head = [_plain(feed.get("name")), _plain(feed.get("scheme")), "yes" if feed.get("connected") else "no"]
    return [*head, *figures, number(_number(feed, "lag_s"), 1), _plain(feed.get("error") or "")]


def _stream_row(stream: Mapping[str, Any]) -> list[object]:
    names = [_plain(stream.get(key) or "-") for key in ("recording", "stream", "feed", "modality")]
    digits = {"rate_hz": -1, "n_channels": 0, "last_sample_age_s": 1, "lag_s": 1, "gaps": 0, "gap_samples": 0}
    digits |= {"late_samples": 0, "conflicts": 0, "bits_per_sample": 3, "phi": 3}
    figures = [
        f"{value:g}" if places < 0 and value is not None else number(value, max(places, 0))
        for value, places in ((_number(stream, key), places) for key, places in digits.items())
    ]
    bank = _plain(stream.get("bank") or "-")
    return [
        *names,
        *figures,
        f"{bank[:12]} {_plain(stream.get('bank_kind') or '')}".strip(),
        _plain(stream.get("drift") or "-"),
    ]


def _number(row: Mapping[str, Any], key: str) -> float | None:
    value = row.get(key)
    return float(value) if isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63) else None


def _size(row: Mapping[str, Any], key: str) -> str:
    value = _number(row, key)
    if value is None:
        return "-"
    power = next((p for p in range(4) if value < 1024 ** (p + 1)), 4)
    return f"{value / 1024**power:.{min(power, 1)}f} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


def _plain(text: object) -> str:
    """Keep what another machine sent from steering the terminal."""
    return "".join(c if c.isprintable() else "?" for c in str(text))
