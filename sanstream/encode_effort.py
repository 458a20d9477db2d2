"""What each effort spends. Every effort writes the same format; one decoder reads them all."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sanstream.block_coding import MIXING, TABLES
from sanstream.errors import InputError


@dataclass(frozen=True)
class Effort:
    """Settings of the encoder.

    Parameters
    ----------
    shapes : tuple of (int, int, int)
        Sample predictors tried: own taps, taps per reference, references per channel.
    hop : int
        Samples between two solutions of the predictor.
    tries : int
        Quantiser steps tried per window.
    exact_block_s, lossy_block_s : float
        Block length in seconds where some channel is lossless, and where all are lossy.
    kernel_seconds : tuple of float
        Kernel lengths tried when kernels are adapted; empty for none.
    n_kernels, n_rounds : int
        Kernels at most, and rounds of adaptation.
    both_tools : bool
        Try prediction against wavelet per window where either may win.
    n_trial_blocks : int
        Blocks encoded to compare banks and kernels.
    frugal : bool
        Weigh each coefficient's error against its bits by the decoder's models.
    coder : str
        ``"mixing"`` or ``"tables"``; see :class:`sanstream.block_coding.SegmentCoding`.
    ahead, filter : int
        Taps per reference after the sample, and taps of the last filter; with mixing 0 and 16.
    rival : str
        Effort that is taken instead where trial blocks say that it is smaller.
    apart : bool
        Every channel is a group of its own and decodes alone.
    robust : bool
        Start weights that keep bits small rather than squares.
    """

    shapes: tuple[tuple[int, int, int], ...]
    hop: int
    tries: int
    exact_block_s: float
    lossy_block_s: float
    kernel_seconds: tuple[float, ...]
    n_kernels: int
    n_rounds: int
    both_tools: bool
    n_trial_blocks: int
    frugal: bool = False
    coder: str = MIXING
    ahead: int = 0
    filter: int = 16
    rival: str = ""
    apart: bool = False
    robust: bool = False


EFFORTS = {
    "fast": Effort(((16, 6, 3),), 4096, 6, 60, 60, (), 0, 0, False, 0, False, TABLES, 2, 0),
    "default": Effort(((24, 8, 4),), 2048, 8, 60, 60, (0.8,), 2, 3, True, 2, False, TABLES, 3, 8),
    "thorough": Effort(
        ((20, 12, 8), (6, 2, 24)), 32, 1, 60, 60, (0.4, 0.65, 0.8, 1.0), 8, 6, True, 4, True, rival="default"
    ),
}


TRAINING = Effort(((16, 6, 2),), 64, 1, 60, 60, (0.8,), 4, 4, True, 2)
"""What the priors of coder mixing are trained at: quicker than ``"thorough"``, with the same coder."""


def effort_named(name: str | Effort) -> Effort:
    """Return an effort; one that is no name is returned as it is.

    Raises
    ------
    InputError
        When there is none of that name.
    """
    if isinstance(name, Effort):
        return name
    if name not in EFFORTS:
        raise InputError(f"unknown effort {name!r}", hint=f"use one of {', '.join(EFFORTS)}")
    return EFFORTS[name]


MAX_BLOCK_S = 60
SHORT_BLOCK_S = 20
"""Blocks up to this long end before a predictor has learned: few taps, held by their start weights, then do best."""
_SHORT_SHAPE = (4, 4, 2)


def laid_out(name: str | Effort, block_s: float | None = None, apart: bool = False) -> Effort:
    """Return an effort that lays blocks out for short reads.

    Parameters
    ----------
    name : str or Effort
    block_s : float, optional
        Block length in seconds, 1 to 60; default: the effort's own.
    apart : bool
        Let every channel decode alone, at the price of what channels tell about each other.

    Raises
    ------
    InputError
        On an unknown effort, or another block length.
    """
    effort = effort_named(name)
    if block_s is not None:
        if not 1 <= block_s <= MAX_BLOCK_S:
            raise InputError(f"blocks of {block_s:g} s", hint=f"use 1 to {MAX_BLOCK_S} seconds")
        effort = replace(effort, exact_block_s=block_s, lossy_block_s=block_s)
    if effort.coder == TABLES and not effort.both_tools and effort.exact_block_s <= SHORT_BLOCK_S:
        effort = replace(effort, shapes=(_SHORT_SHAPE,), robust=True)
    return replace(effort, apart=True) if apart else effort
