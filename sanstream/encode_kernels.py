"""Kernels for a segment, and the activations of its blocks (torch, batched, on the GPU where there is one)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream.bank import Bank, Kernel, is_component, kernel_id

_PEAK = 512
UNIT = 2048
_LINEAGE = 0.9
MIN_EXPLAINED = 0.5
_SHARPNESS = 2.0
_LEARN_WINDOWS = 60


@dataclass(frozen=True)
class KernelChoice:
    """Kernels in use for one segment's first group.

    Parameters
    ----------
    kernels : tuple of Kernel
        Components come last.
    shifts : ndarray, shape (n_channels of the group,), int64
        ``taps * 2^shift / 2048`` is the kernel in digital steps at amplitude 1.
    """

    kernels: tuple[Kernel, ...]
    shifts: npt.NDArray[np.int64]

    @property
    def n_leading(self) -> int:
        """How many kernels stand before the components, at least one."""
        n = len(self.kernels)
        while n > 1 and is_component(self.kernels[n - 1]):
            n -= 1
        return n

    def leading(self) -> KernelChoice:
        """Return the choice without its components."""
        return replace(self, kernels=self.kernels[: self.n_leading])

    def digital(self) -> npt.NDArray[np.float32]:
        """Return kernels in digital steps, (n_kernels, n_channels, n_taps)."""
        longest = max(k.taps.shape[1] for k in self.kernels)
        out = np.zeros((len(self.kernels), len(self.shifts), longest), np.float32)
        for i, kernel in enumerate(self.kernels):
            out[i, :, : kernel.taps.shape[1]] = kernel.taps * (2.0 ** self.shifts[:, None] / UNIT)
        return out


def _device(device: str | None) -> Any:
    import torch

    if device is not None:
        return torch.device(device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def adapt(
    samples: npt.NDArray[np.int32],
    present: npt.NDArray[np.bool_],
    rate: Fraction,
    bank: Bank,
    *,
    seconds: float,
    n_kernels: int,
    n_rounds: int,
    device: str | None,
) -> KernelChoice | None:
    """Learn kernels from a segment's own windows, starting from the bank's.

    Parameters
    ----------
    samples : ndarray, shape (n_samples, n_channels)
        Channels of the first group.
    present : ndarray, shape (n_samples,)
        Where no channel is missing.
    rate : Fraction
    bank : Bank
    seconds : float
        Kernel length.
    n_kernels, n_rounds : int
    device : str, optional

    Returns
    -------
    KernelChoice or None
        None when nothing repeats or the segment is too short.
    """
    import torch

    from sanstream.san.matching import adapt_kernels

    m = round(float(rate) * seconds)
    size = min(round(float(rate) * 10), 16384, len(samples) // 2)
    if not 16 <= m <= 1024 or m * 2 > size:
        return None
    windows = _whole_windows(samples, present, size)
    if len(windows) < 2:
        return None
    batch = torch.from_numpy(windows).to(_device(device))
    initial = _starts(bank, rate, m, batch.device)
    learned = adapt_kernels(batch, initial, n_kernels=n_kernels, kernel_samples=m, n_rounds=n_rounds, scale="data")
    if len(learned) == 0:
        return None
    return _quantised(learned.cpu().numpy(), bank, rate)


def from_bank(samples: npt.NDArray[np.int32], rate: Fraction, bank: Bank) -> tuple[KernelChoice, bool] | None:
    """Take the bank's kernels as they are, at the segment's rate.

    Parameters
    ----------
    samples : ndarray, shape (n_samples, n_channels)
        Channels of the first group.
    rate : Fraction
    bank : Bank

    Returns
    -------
    (KernelChoice, bool) or None
        The kernels, and whether their taps are the bank's own (same rate), so that they need no bytes.
        None when the bank has no kernels or they would be under 8 taps.
    """
    if not bank.kernels or bank.rate_hz <= 0 or len(samples) < 2:
        return None
    ratio = float(rate) / bank.rate_hz
    same = abs(ratio - 1) < 0.01
    kernels = bank.kernels
    if not same:
        kernels = tuple(
            Kernel(k.uid, np.round(resampled(k, ratio)).astype(np.int16)[None], round(k.fiducial * ratio))
            for k in bank.kernels
        )
    if min(k.taps.shape[1] for k in kernels) < 8 or max(k.taps.shape[1] for k in kernels) > 1024:
        return None
    kernels = tuple(Kernel(k.uid, k.taps, min(k.fiducial, k.taps.shape[1] - 1)) for k in kernels)
    look = samples[:: max(1, len(samples) // 100_000)]
    spread = np.percentile(look, 99.5, axis=0) - np.percentile(look, 0.5, axis=0)
    shifts = np.clip(np.round(np.log2(np.maximum(spread, 1) * UNIT / _PEAK / 2)), 0, 30).astype(np.int64)
    return KernelChoice(kernels, shifts), same


def _whole_windows(
    samples: npt.NDArray[np.int32], present: npt.NDArray[np.bool_], size: int
) -> npt.NDArray[np.float32]:
    """Evenly spaced windows without a missing sample, (n, n_channels, size)."""
    starts = [a for a in range(0, len(samples) - size + 1, size) if present[a : a + size].all()]
    picks = np.linspace(0, max(0, len(starts) - 1), min(_LEARN_WINDOWS, len(starts))).round().astype(int)
    out = [samples[starts[i] : starts[i] + size].T.astype(np.float32) for i in picks]
    return np.stack(out) if out else np.zeros((0, samples.shape[1], size), np.float32)


def resampled(kernel: Kernel, ratio: float) -> npt.NDArray[np.float64]:
    """Taps of a bank kernel at another rate, by linear interpolation, shape (n_taps,)."""
    n = kernel.taps.shape[1]
    at = np.arange(max(1, round(n * ratio))) / ratio
    return np.asarray(np.interp(at, np.arange(n), kernel.taps[0].astype(np.float64), right=0.0))


def _starts(bank: Bank, rate: Fraction, m: int, device: Any) -> Any:
    import torch

    if not bank.kernels or bank.rate_hz <= 0:
        return None
    out = np.zeros((len(bank.kernels), 1, m), np.float32)
    for i, kernel in enumerate(bank.kernels):
        taps = resampled(kernel, float(rate) / bank.rate_hz)
        cut = max(0, (len(taps) - m) // 2)
        taps = taps[cut : cut + m]
        out[i, 0, (m - len(taps)) // 2 : (m - len(taps)) // 2 + len(taps)] = taps
    return torch.from_numpy(out).to(device)


def _quantised(learned: npt.NDArray[np.float32], bank: Bank, rate: Fraction) -> KernelChoice:
    peaks = np.abs(learned).max(axis=(0, 2))
    shifts = np.array([max(0, int(np.ceil(np.log2(max(p * UNIT / _PEAK, 1e-9))))) for p in peaks], np.int64)
    taps = np.round(learned * UNIT / 2.0 ** shifts[None, :, None]).astype(np.int16)
    used: set[str] = set()
    kernels = []
    for shape in taps:
        uid = lineage(shape, bank, rate, used)
        used.add(uid)
        kernels.append(Kernel(uid, shape, int(np.abs(shape).sum(axis=0).argmax())))
    return KernelChoice(tuple(kernels), shifts)


def lineage(shape: npt.NDArray[np.int16], bank: Bank, rate: Fraction, used: set[str]) -> str:
    """Id of the bank kernel that ``shape`` descends from (normalised correlation 0.9), else a new one."""
    best, name = _LINEAGE, ""
    for kernel in bank.kernels if bank.rate_hz > 0 else ():
        taps = resampled(kernel, float(rate) / bank.rate_hz)
        for row in shape.astype(np.float64):
            norm = float(np.linalg.norm(row) * np.linalg.norm(taps))
            if norm > 0 and kernel.uid not in used:
                likeness = float(np.abs(np.correlate(row, taps, "full")).max()) / norm
                if likeness > best:
                    best, name = likeness, kernel.uid
    return name or kernel_id(shape)


Activated = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""Kernel (a,), index (a,) and quantised amplitudes (a, n_channels), ordered by index."""


def match(blocks: npt.NDArray[np.float32], choice: KernelChoice, device: str | None) -> list[Activated]:
    """Choose activations of a batch of equally long blocks.

    Parameters
    ----------
    blocks : ndarray, shape (n_blocks, n_channels, n_samples), float32
    choice : KernelChoice
    device : str, optional

    Returns
    -------
    list of Activated
        One per block.
    """
    import torch

    from sanstream.san.matching import refit, select

    kernels = torch.from_numpy(choice.digital()).to(_device(device))
    x = torch.from_numpy(blocks).to(kernels.device)
    x = x - x.mean(dim=2, keepdim=True)
    distance = max(1, kernels.shape[2] // 2)
    chosen = select(x, kernels, min_explained=MIN_EXPLAINED, min_distance=distance, sharpness=_SHARPNESS)
    chosen = chosen.with_amplitude(refit(x, kernels, chosen))
    out = []
    for block in range(len(blocks)):
        kernel, index, amplitude = chosen.of_window(block)
        order = np.argsort(index, kind="stable")
        quantised = np.clip(np.round(amplitude[order] * 32), -(1 << 15), 1 << 15).astype(np.int64)
        out.append((kernel[order].astype(np.int64), index[order].astype(np.int64), quantised))
    return out
