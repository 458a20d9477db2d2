"""Banks: immutable, content-addressed kernels, trained priors and the deltas that adapt them (FORMAT.md clause 6)."""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream._loops_coder import SQUASH, STRETCH, STRETCH_MAX
from sanstream._loops_models import N_SLOTS, N_WEIGHTS, blank_models
from sanstream.errors import BankError, CorruptError

Models = tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8], npt.NDArray[np.int32]]

MAX_BANK_BYTES = 1 << 22
MAX_KERNELS = 16
MAX_TAPS = 4096
SUFFIX = ".sanbank"
_MAGIC = b"SANB\x00"
_STORED, _XZ = b"\x00", b"\x01"
_PROB_STEP = 44
_LEAST_LEVEL = 3
"""Contexts seen less than four times in training start untrained: they would cost more than they give."""
_COUNTS = np.array([0, 1, 2, 4, 8, 14, 22, 30], dtype=np.uint8)
_WEIGHT_SHIFT = 7
_MAX_JSON = 1 << 16


@dataclass(frozen=True)
class Kernel:
    """One kernel.

    Parameters
    ----------
    uid : str
        8 hex digits, kept through retraining (lineage).
    taps : ndarray, shape (n_rows, n_taps), int16
        One row per channel of a group, or one row for all channels.
    fiducial : int
        Tap that marks the event (the R peak of a beat).
    """

    uid: str
    taps: npt.NDArray[np.int16]
    fiducial: int


@dataclass(frozen=True)
class Bank:
    """Kernels and priors under one hash.

    Parameters
    ----------
    id : str
        SHA-256 of ``data``, hex.
    name : str
    data : bytes
        The bank's file.
    kernels : tuple of Kernel
    rate_hz : float
        Rate that the kernels' taps are for.
    """

    id: str
    name: str
    data: bytes = field(repr=False)
    kernels: tuple[Kernel, ...] = ()
    rate_hz: float = 0.0
    models: Models = field(repr=False, compare=False, default_factory=blank_models)

    @property
    def kernel_uids(self) -> tuple[str, ...]:
        """Lineage ids of the kernels."""
        return tuple(k.uid for k in self.kernels)


def pack_models(models: Models) -> bytes:
    """Quantise trained models: 8-bit log-odds, 3-bit counts, 16-bit weights."""
    prob, count, weight = models
    odds = np.clip(np.round(STRETCH[prob >> 4] / _PROB_STEP), -127, 127).astype(np.int8)
    confidence = (np.searchsorted(_COUNTS, count, side="right") - 1).astype(np.uint8)
    confidence[confidence < _LEAST_LEVEL] = 0
    odds[confidence == 0] = 0
    return bytes(odds.tobytes() + confidence.tobytes() + _pack_weights(weight))


def _pack_weights(weight: npt.NDArray[np.int32]) -> bytes:
    start = blank_models()[2].astype(np.int64)
    moved = np.clip((weight.astype(np.int64) - start) >> _WEIGHT_SHIFT, -(1 << 15), (1 << 15) - 1)
    return bytes(moved.astype("<i2").tobytes())


def _unpack_models(data: bytes) -> Models:
    prob, count, weight = blank_models()
    odds = np.frombuffer(data, np.int8, N_SLOTS).astype(np.int64)
    level = np.frombuffer(data, np.uint8, N_SLOTS, N_SLOTS)
    moved = np.frombuffer(data, "<i2", N_WEIGHTS, 2 * N_SLOTS).astype(np.int32)
    used = level > 0
    prob[used] = SQUASH[np.clip(odds[used] * _PROB_STEP, -STRETCH_MAX, STRETCH_MAX) + STRETCH_MAX].astype(np.uint16)
    count[:] = _COUNTS[np.minimum(level, len(_COUNTS) - 1)]
    return prob, count, weight + (moved << _WEIGHT_SHIFT)


def write_bank(name: str, kernels: Sequence[Kernel], rate_hz: float, models: Models | None, notes: str = "") -> bytes:
    """Assemble a bank's file.

    Parameters
    ----------
    name : str
    kernels : sequence of Kernel
        At most 16, of one row each.
    rate_hz : float
    models : tuple of arrays, optional
        Trained probabilities, counts, weights; untrained when left out.
    notes : str
        How it was trained.
    """
    head = {
        "name": name,
        "rate_hz": rate_hz,
        "notes": notes,
        "kernels": [{"uid": k.uid, "n_taps": int(k.taps.shape[1]), "fiducial": k.fiducial} for k in kernels],
        "models": models is not None,
    }
    text = json.dumps(head, separators=(",", ":")).encode()
    body = struct.pack("<I", len(text)) + text
    body += b"".join(k.taps[:1].astype("<i2").tobytes() for k in kernels)
    if models is not None:
        body += pack_models(models)
    if models is None:
        return _MAGIC + _STORED + body  # the blank bank has one hash, whatever liblzma made it
    packed = lzma.compress(body, format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC32, preset=9 | lzma.PRESET_EXTREME)
    return _MAGIC + _XZ + packed


def read_bank(data: bytes, where: str = "bank") -> Bank:
    """Parse a bank's file.

    Parameters
    ----------
    data : bytes
    where : str
        Which bank, for messages.

    Raises
    ------
    CorruptError
        When the bytes are no bank of this version.
    """
    if data[: len(_MAGIC)] != _MAGIC or len(data) > MAX_BANK_BYTES:
        raise CorruptError(f"{where}: not a bank file of version 0", hint="restore it from a copy of the archive")
    try:
        body = _unpack_body(data[len(_MAGIC) :])
        (n,) = struct.unpack_from("<I", body)
        head = json.loads(body[4 : 4 + min(n, _MAX_JSON)])
        return _parse(data, head, body[4 + n :])
    except (lzma.LZMAError, ValueError, KeyError, TypeError, ArithmeticError, RecursionError, struct.error) as error:
        raise CorruptError(f"{where}: damaged ({error})", hint="restore it from a copy of the archive") from None


def _unpack_body(packed: bytes) -> bytes:
    method, rest = packed[:1], packed[1:]
    if method == _STORED:
        return rest
    if method != _XZ:
        raise ValueError(f"unknown method {method.hex()}")
    unpacker = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=1 << 27)
    body = unpacker.decompress(rest, 1 << 24)
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("its compressed body is not whole")
    return body


def _parse(data: bytes, head: dict[str, Any], rest: bytes) -> Bank:
    kernels = []
    if len(head["kernels"]) > MAX_KERNELS:
        raise ValueError(f"{len(head['kernels'])} kernels")
    for item in head["kernels"]:
        n = int(item["n_taps"])
        if not 1 <= n <= MAX_TAPS:
            raise ValueError(f"kernel of {n} taps")
        taps = np.frombuffer(rest, "<i2", n).reshape(1, n)
        kernels.append(Kernel(str(item["uid"]), taps, int(item["fiducial"])))
        rest = rest[2 * n :]
    expected = 2 * N_SLOTS + 2 * N_WEIGHTS if head["models"] else 0
    if len(rest) != expected:
        raise ValueError(f"{len(rest)} bytes of models, {expected} expected")
    models = _unpack_models(rest) if head["models"] else blank_models()
    digest = hashlib.sha256(data).hexdigest()
    return Bank(digest, str(head["name"]), bytes(data), tuple(kernels), float(head["rate_hz"]), models)


@cache
def named_banks() -> dict[str, Bank]:
    """Return the banks that come with the package, by name."""
    folder = Path(__file__).parent / "banks"
    banks = [read_bank(file.read_bytes(), f"bank {file}") for file in sorted(folder.glob(f"*{SUFFIX}"))]
    return {bank.name: bank for bank in banks}


@cache
def blank_bank() -> Bank:
    """Return the bank without kernels and priors, from which training starts."""
    return read_bank(write_bank("blank", [], 0.0, None))


def user_bank_folder() -> Path:
    """Folder of the user's own banks."""
    home = os.environ.get("XDG_DATA_HOME") or os.path.join(os.environ.get("HOME", os.sep), ".local", "share")
    return Path(home) / "sanstream" / "banks"


_READ: dict[tuple[str, int], Bank] = {}


def _from_folder(folder: Path, bank_id: str) -> Bank | None:
    file = folder / f"{bank_id}{SUFFIX}"
    try:
        key = (str(file), file.stat().st_mtime_ns)
        if key not in _READ:
            _READ[key] = read_bank(file.read_bytes(), f"bank {file}")
    except OSError:
        return None
    if _READ[key].id != bank_id:
        raise CorruptError(f"bank {file}: its content is not what its name says", hint="restore it from a copy")
    return _READ[key]


def find_bank(bank_id: str, *, folders: Iterable[Path | str] = ()) -> Bank:
    """Find a bank by its hash: in the package, in ``folders``, in ``$SANSTREAM_BANKS``, in the user's folder.

    Raises
    ------
    BankError
        When it is nowhere.
    CorruptError
        When the file found is not what its name says.
    """
    for bank in (*named_banks().values(), blank_bank()):
        if bank.id == bank_id:
            return bank
    own = os.environ.get("SANSTREAM_BANKS")
    places = [Path(f) for f in folders] + ([Path(own)] if own else []) + [user_bank_folder()]
    for place in places:
        found = _from_folder(place, bank_id)
        if found is not None:
            return found
    raise BankError(
        f"bank {bank_id[:12]} is neither in the package nor in {', '.join(str(p) for p in places)}",
        hint="run: sanstream banks install ARCHIVE",
    )
