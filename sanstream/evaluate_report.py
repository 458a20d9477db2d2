"""What an evaluation found: figures per channel and window, and the windows that missed their quality."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sanstream.evaluate_windows import WindowFigures


@dataclass(frozen=True)
class Broken:
    """A window that missed what was promised.

    Parameters
    ----------
    stream, channel : str
    start_sample : int
        First sample on the stream's grid.
    asked : str
    prdn, rmse_adu, max_error_adu : float
    gaps_kept : bool
        False when a missing sample became one, or the other way round.
    """

    stream: str
    channel: str
    start_sample: int
    asked: str
    prdn: float
    rmse_adu: float
    max_error_adu: float
    gaps_kept: bool

    def __str__(self) -> str:
        reached = f"prdn {self.prdn:.6g} %, rmse {self.rmse_adu:.6g} adu, max error {self.max_error_adu:.6g} adu"
        gaps = "" if self.gaps_kept else "; missing samples differ"
        where = f"stream {self.stream}, channel {self.channel}, sample {self.start_sample}"
        return f"{where}: asked {self.asked}, {reached}{gaps}"


@dataclass(frozen=True)
class ChannelReport:
    """One channel.

    Parameters
    ----------
    name, unit : str
    quality : str
        As asked.
    windows : WindowFigures
        ``start`` counts on the stream's grid.
    whole : WindowFigures
        All of the channel as one window.
    """

    name: str
    unit: str
    quality: str
    windows: WindowFigures
    whole: WindowFigures

    def summary(self) -> dict[str, Any]:
        """Return the channel's figures: of the whole, and mean and worst of its windows.

        Returns
        -------
        dict of str to float
        """
        windows, whole = self.windows, self.whole
        valid = windows.n_samples > windows.n_missing
        prdn, phi = windows.prdn[valid], windows.phi[valid]
        return {
            "n_windows": len(windows.start),
            "prdn_mean": float(prdn.mean()) if len(prdn) else 0.0,
            "prdn_max": float(prdn.max()) if len(prdn) else 0.0,
            "prdn": float(whole.prdn[0]),
            "prd_1024": float(whole.prd_1024[0]),
            "prd": float(whole.prd[0]),
            "rmse_adu": float(whole.rmse_adu[0]),
            "max_error_adu": float(whole.max_error_adu[0]),
            "snr_db": float(whole.snr_db[0]),
            "phi_mean": float(phi.mean()) if len(phi) else 0.0,
            "bits_per_sample": float(windows.bits.sum() / max(1, windows.n_samples.sum())),
        }


@dataclass(frozen=True)
class StreamReport:
    """One stream.

    Parameters
    ----------
    name : str
    rate_hz : float
    channels : tuple of ChannelReport
        In order of appearance.
    """

    name: str
    rate_hz: float
    channels: tuple[ChannelReport, ...]


@dataclass(frozen=True)
class Report:
    """What :func:`sanstream.evaluate` found.

    Parameters
    ----------
    recording : str
    streams : tuple of StreamReport
    broken : tuple of Broken
        Empty when every promise was kept.
    """

    recording: str
    streams: tuple[StreamReport, ...]
    broken: tuple[Broken, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; a window's figures stand in columns of equal length.

        Returns
        -------
        dict
        """
        return {
            "recording": self.recording,
            "streams": [
                {
                    "name": stream.name,
                    "rate_hz": stream.rate_hz,
                    "channels": [
                        {
                            "name": c.name,
                            "unit": c.unit,
                            "quality": c.quality,
                            "summary": c.summary(),
                            "windows": c.windows.to_dict(),
                        }
                        for c in stream.channels
                    ],
                }
                for stream in self.streams
            ],
            "broken": [dict(b.__dict__) for b in self.broken],
        }
