"""The report as one HTML page that needs nothing else: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files

import numpy as np

import sanstream
from sanstream.evaluate_report import ChannelReport
from sanstream.report import pictures
from sanstream.report.findings import Findings
from sanstream.report.markup import duration, figure, long_table, moment, number, table, text
from sanstream.report.uses import namer, uses
from sanstream.report.verdict import verdict
from sanstream.serves.limits import SOURCES

_MOST_LISTED = 200
_MOST_ATTENTION = 40
_OPEN = 12
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_FIGURES = ("PRDN % median", "95 %", "worst", "RMSE adu", "max. adu", "SNR dB", "bit/sample")


def page(found: Findings) -> str:
    """Write the page."""
    style = files("sanstream.report").joinpath("style.css").read_text(encoding="utf-8")
    title = f"{found.origin.recording}: does the archived signal still serve?"
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            f"<title>{text(title)}</title><style>{style}</style></head><body>",
            f"<h1>{text(title)}</h1>",
            *_top(found),
            *_quality(found),
            *uses(found.served, found.attention),
            *_missing(found),
            *_worst(found),
            *_broken(found),
            *_reading(),
            "</body></html>\n",
        ]
    )


def _top(found: Findings) -> Iterator[str]:
    mark = "" if found.kept and not found.attention else " warn" if found.kept else " bad"
    first, _, rest = verdict(found).partition(". ")
    yield f'<div class="verdict{mark}"><strong>{text(first.rstrip("."))}.</strong> {text(rest)}</div>'
    if found.attention:
        n, shown = len(found.attention), found.attention[:_MOST_ATTENTION]
        what = "1 difference" if n == 1 else f"{n:,} differences"
        opened = " open" if n <= _OPEN else ""
        yield f"<details{opened}><summary>Worth a look: {what} beyond a limit</summary><ul class=look>"
        yield from (f"<li><b>{text(a.channel)}</b>: {text(a.text)}</li>" for a in shown)
        if n > len(shown):
            yield f"<li>{n - len(shown):,} more in report.json</li>"
        yield "</ul></details>"
    facts = "".join(f"<div><dt>{text(k)}</dt><dd>{text(v)}</dd></div>" for k, v in _facts(found))
    yield f"<dl class=facts>{facts}</dl>"


def _facts(found: Findings) -> list[tuple[str, str]]:
    origin = found.origin
    asked = list(dict.fromkeys(c.quality for s in found.figures.streams for c in s.channels))
    ratio = origin.raw_bits / (8 * origin.coded_bytes) if origin.coded_bytes else None
    n_channels = sum(len(s.channels) for s in found.figures.streams)
    return [
        ("quality asked", ", ".join(asked)),
        ("size", f"{origin.bits_per_sample:.3f} bit/sample, {origin.coded_bytes:,} bytes coded"),
        ("against the ADC's bits", f"{number(ratio, 1)} times smaller"),
        ("length", duration(origin.seconds)),
        ("channels", f"{n_channels:,} in {found.n_windows:,} windows"),
        ("effort", origin.effort or "the archive does not say"),
        ("bank", ", ".join(origin.banks) or "–"),
        ("container", f"{origin.container}, format {origin.format_version}"),
        ("report by", f"sanstream {sanstream.__version__}"),
    ]


def _quality(found: Findings) -> Iterator[str]:
    yield "<h2>Quality, channel by channel</h2>"
    broken = {(b.stream, b.channel) for b in found.figures.broken}
    several = len(found.figures.streams) > 1
    rows, marks = [], []
    for stream in found.figures.streams:
        for channel in stream.channels:
            place = [stream.name] if several else []
            rows.append([channel.name, *place, channel.unit or "–", channel.quality, *_figures(channel)])
            marks.append("bad" if (stream.name, channel.name) in broken else "")
    head = ["channel", *(["stream"] if several else []), "unit", "asked", "windows", *_FIGURES]
    yield long_table(head, rows, words=4 if several else 3, marks=marks)
    yield (
        "<p class=note>PRDN: error as a percentage of the signal's own variation in a window (mean removed). RMSE and "
        "greatest error in adu, steps of the digital signal.</p>"
    )
    if found.exact:
        yield "<p>Nothing was lost, so there is nothing to draw.</p>"
        return
    yield figure(
        pictures.spread(found.figures.streams),
        "PRDN of each channel's windows: 5 to 95 % (bar), median (black), worst (orange), and the bound where one was "
        "asked (green).",
    )
    for stream in found.figures.streams:
        if any(len(c.windows.start) for c in stream.channels):
            yield figure(pictures.over_time(stream), f"PRDN over time, stream {stream.name}.")


def _figures(channel: ChannelReport) -> list[str]:
    own = channel.summary()
    valid = channel.windows.prdn[channel.windows.n_samples > channel.windows.n_missing]
    # an infinite one is no number to interpolate with
    shares = np.percentile(valid, [50, 95, 100], method="higher").tolist() if len(valid) else [None] * 3
    return [
        f"{own['n_windows']:,}",
        *(number(v) for v in shares),
        number(own["rmse_adu"]),
        number(own["max_error_adu"], 0),
        number(own["snr_db"], 1),
        number(own["bits_per_sample"], 3),
    ]


def _missing(found: Findings) -> Iterator[str]:
    name = namer(found.served)
    why: dict[str, list[str]] = {}
    for own in found.served:
        for reason in own.missing:
            why.setdefault(reason, []).append(name(own))
    part = [s for s in found.served if 0 < s.analysed_s < 0.99 * s.whole_s]
    unknown = [name(s) for s in found.served if s.modality in ("other", "emg")]
    if not (why or part or unknown):
        return
    yield "<h2>What was not measured</h2><ul class=look>"
    for reason, channels in why.items():
        yield f"<li>{text(reason)} <span class=soft>({text(_few(channels))})</span></li>"
    for own in part:
        yield (
            f"<li>{text(name(own))}: {duration(own.analysed_s)} of {duration(own.whole_s)} were analysed; the rest "
            "lies between gaps that are too close, or the channel is very long, and parts of it were taken</li>"
        )
    if unknown:
        yield f"<li>No measure of use for this kind of channel, quality only: {text(_few(unknown))}</li>"
    yield "</ul>"


def _few(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _worst(found: Findings) -> Iterator[str]:
    if not found.worst:
        return
    yield "<h2>The worst windows</h2>"
    yield (
        f"<p>One per cent of {found.n_windows:,} windows are {found.n_worst:,}; {len(found.worst):,} are drawn, "
        "those that come nearest to what was asked by turns with those of largest PRDN. Signal and difference have one "
        "scale.</p>"
    )
    for own in found.worst:
        share = f"{number(100 * own.ratio, 1)} % of what was allowed" if own.ratio < 1e6 else "had to be exact"
        head = f"{own.channel}, {moment(own.start_s)} (sample {own.start_sample:,} of {own.stream})"
        yield f"<h3>{text(head)}</h3>"
        yield figure(
            pictures.window(own),
            f"{'BROKEN. ' if own.broken else ''}Asked {own.quality}; PRDN {number(own.prdn)} %, {share}; RMSE "
            f"{own.rmse:.3g}, largest error {own.max_error:.3g} {own.unit or 'digital steps'}.",
        )


def _broken(found: Findings) -> Iterator[str]:
    yield "<h2>Broken windows</h2>"
    broken = found.figures.broken
    if not broken:
        yield "<p>None: every window keeps what was asked.</p>"
        return
    rows = [
        [
            *(b.channel, b.stream, b.asked, f"{b.start_sample:,}"),
            *(number(b.prdn), number(b.rmse_adu), number(b.max_error_adu, 0), "kept" if b.gaps_kept else "differ"),
        ]
        for b in broken[:_MOST_LISTED]
    ]
    head = ["channel", "stream", "asked", "sample", "PRDN %", "RMSE adu", "max. adu", "gaps"]
    yield table(head, rows, words=3, marks=["bad"] * len(rows))
    if len(broken) > _MOST_LISTED:
        yield f"<p>{len(broken) - _MOST_LISTED:,} more in report.json.</p>"


def _reading() -> Iterator[str]:
    yield "<h2>How to read this</h2>"
    yield (
        "<p>The archive was decoded and compared with its source. <em>Quality</em> is a promise: each window was to "
        "stay within what was asked, and a window that does not is broken. <em>Use</em> is a measurement: the same "
        "programs ran on both signals. A difference beyond a limit below is worth a look; it is no failure of the "
        "archive.</p>"
    )
    yield table(["measure", "worth a look when", "where the limit is from"], [list(s) for s in SOURCES], words=3)
    yield "<p class=note>Sanstream is no medical device. All figures, each window's too, are in report.json.</p>"
