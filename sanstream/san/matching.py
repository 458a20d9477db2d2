"""Matching of kernels with windows, as the codec's encoder uses it: one place to import from.

Batched torch, float32, CPU or CUDA alike. Windows are (B, C, n), kernels (q, C or 1, m), and an
activation's index is the sample of its kernel's first tap.
"""

from __future__ import annotations

from sanstream.san.adaptation import adapt_kernels
from sanstream.san.correlation import Scores, correlate
from sanstream.san.pursuit import Pursuit, flithos_of_windows, omp
from sanstream.san.refitting import refit, synthesize
from sanstream.san.selection import Activations, select

__all__ = [
    "Activations",
    "Pursuit",
    "Scores",
    "adapt_kernels",
    "correlate",
    "flithos_of_windows",
    "omp",
    "refit",
    "select",
    "synthesize",
]
