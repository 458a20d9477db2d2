"""A picture of what the detector sees: activations under the ECG that it does not see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.codes.beat_candidates import events_of
from pipelines.codes.beat_records import Records
from pipelines.codes.beat_rows import Truth

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442", "#000000")


def draw(
    file: Path,
    samples: npt.NDArray[np.int32],
    records: Records,
    detected: npt.NDArray[np.int64],
    truth: Truth,
    start_s: float,
    length_s: float,
    name: str,
) -> None:
    """Draw a stretch of one record.

    Parameters
    ----------
    file : Path
    samples : ndarray, shape (n_samples, n_channels), int32
        Only drawn.
    records : Records
    detected : ndarray, int64
    truth : Truth
    start_s, length_s : float
    name : str
        Of the record.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rate = records.rate_hz
    first, stop = round(start_s * rate), round((start_s + length_s) * rate)
    seconds = np.arange(first, stop) / rate
    figure, (above, below) = plt.subplots(2, 1, figsize=(11, 5.6), sharex=True, layout="constrained")
    lead = samples[first:stop, 0]
    above.plot(seconds, lead, color="0.25", linewidth=0.8)
    top = float(lead.max()) + 0.12 * float(np.ptp(lead))
    for at, symbol in zip(truth.sample, truth.symbol, strict=True):
        if first <= at < stop:
            above.text(at / rate, top, symbol, ha="center", va="bottom", fontsize=9)
            above.axvline(at / rate, color="0.85", linewidth=0.8, zorder=0)
    above.set_ylim(float(lead.min()) - 20, top + 0.15 * float(np.ptp(lead)))
    above.set_ylabel("first lead, digital steps")
    above.set_title(f"MIT-BIH {name}: samples and annotations (not seen by the detector)", fontsize=10, loc="left")
    events = events_of(records)
    strength = np.sqrt((events.sharp**2).sum(axis=1))
    for k in range(len(records.taps)):
        mine = (events.kernel == k) & (events.time >= first) & (events.time < stop)
        colour = _COLOURS[k % len(_COLOURS)]
        below.vlines(events.time[mine] / rate, 0, strength[mine], color=colour, linewidth=1.6, label=f"kernel {k}")
    shown = detected[(detected >= first) & (detected < stop)]
    tallest = float(strength[(events.time >= first) & (events.time < stop)].max(initial=1.0))
    below.plot(shown / rate, np.full(len(shown), 1.08 * tallest), "v", color="black", label="detected beat")
    below.set_ylim(0, 1.2 * tallest)
    below.set_ylabel("amplitude × steepness of kernel")
    below.set_xlabel("seconds")
    below.set_title("activations: all that the detector sees", fontsize=10, loc="left")
    below.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=9, fontsize=8, frameon=False)
    below.set_xlim(start_s, start_s + length_s)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)
    plt.close(figure)
