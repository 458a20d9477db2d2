"""MNIST and sets of the same form: four idx files, 50 000 / 10 000 / 10 000 images in file order."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

N_VALIDATION = 10_000


@dataclass(frozen=True)
class Part:
    """Images with their classes.

    Parameters
    ----------
    x : Tensor, shape (n_images, 28, 28), float32, 0 to 1
    y : Tensor, shape (n_images,), int64
    """

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Images:
    """What is trained on, selected on and reported."""

    learn: Part
    check: Part
    test: Part


def load_images(folder: Path, *, most: int | None = None) -> Images:
    """Read ``train-images-idx3-ubyte.gz`` and the other three; the last 10 000 training images validate.

    Parameters
    ----------
    folder : Path
    most : int, optional
        Keep the first images of each part: this many to train, a fifth as many of the others.

    Raises
    ------
    FileNotFoundError
        When one of the four is not there.
    """
    x, y = _read(folder, "train")
    n = len(x) - N_VALIDATION
    few = None if most is None else most // 5
    test = Part(*_read(folder, "t10k"))
    return Images(_first(Part(x[:n], y[:n]), most), _first(Part(x[n:], y[n:]), few), _first(test, few))


def _first(part: Part, most: int | None) -> Part:
    return Part(part.x[:most], part.y[:most])


def _read(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    pixels = _idx(folder / f"{part}-images-idx3-ubyte.gz")
    classes = _idx(folder / f"{part}-labels-idx1-ubyte.gz")
    return torch.from_numpy(pixels.astype(np.float32) / 255), torch.from_numpy(classes.astype(np.int64))


def _idx(file: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Read an idx file of bytes: two zeros, type 8, number of axes, their lengths (big-endian), values."""
    raw = gzip.decompress(file.read_bytes())
    shape = np.frombuffer(raw, ">i4", raw[3], 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)
