"""The segments that codes are judged on: the Bonn set as in Table II, standardised on its training part."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from pipelines.paper import bonn


@dataclass(frozen=True)
class Segments:
    """Training, validation and test segments.

    Parameters
    ----------
    x : three Tensors, shape (n_segments, 178), float32
        Mean 0 and deviation 1 over all training samples.
    y : three Tensors, shape (n_segments,), int64
    """

    x: tuple[Tensor, Tensor, Tensor]
    y: tuple[Tensor, Tensor, Tensor]


def load(data: Path, *, by_recording: bool = False, quick: bool = False, device: str = "cpu") -> Segments:
    """Read and split the Bonn set.

    Parameters
    ----------
    data : Path
        Folder of the databases.
    by_recording : bool
        Split by whole recordings instead of as published.
    quick : bool
        A tenth of the recordings.
    device : str
    """
    whole = bonn.load(data)
    parts = bonn.split(bonn.every(whole, 10) if quick else whole, by_recording=by_recording)
    mean, deviation = parts.train.x.mean(), parts.train.x.std()
    sides = [p.to(device) for p in (parts.train, parts.validation, parts.test)]
    x = tuple((p.x - mean) / deviation for p in sides)
    return Segments((x[0], x[1], x[2]), (sides[0].y, sides[1].y, sides[2].y))
