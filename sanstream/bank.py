"""Banks: immutable, content-addressed kernels, trained priors and the deltas that adapt them (FORMAT.md clause 6)."""

from __future__ import annotations

import hashlib
import json
import lzma
import math
import os
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream._loops_models import blank_models
from sanstream.bank_priors import Models, Rounding, pack_models, unpack_models
from sanstream.errors import BankError, CorruptError, UnsupportedError

MAX_BANK_BYTES = 1 << 22
MAX_KERNELS = 16
COMPONENT = "00"
"""How the id of a component begins: a kernel that only refines the activation before it, at the same index. A kernel
of an earlier version may begin so, too; :func:`is_component` tells them apart."""
MAX_TAPS = 4096
SUFFIX = ".sanbank"
_MAGIC, _VERSION = b"SANB", 1
_STORED, _XZ = b"\x00", b"\x01"
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


def kernel_id(taps: npt.NDArray[np.int16], *, component: bool = False) -> str:
    """Return a new kernel's id, from its taps: eight hex digits, the first two ``00`` for components alone."""
    digest = hashlib.sha256(np.ascontiguousarray(taps, "<i2").tobytes()).hexdigest()
    if component:
        return COMPONENT + digest[: 8 - len(COMPONENT)]
    return f"f{digest[1:8]}" if digest.startswith(COMPONENT) else digest[:8]


def is_component(kernel: Kernel) -> bool:
    """Tell whether a kernel is a component: its id says so, and is that of its taps."""
    return kernel.uid.startswith(COMPONENT) and kernel.uid == kernel_id(kernel.taps, component=True)


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


def write_bank(
    name: str,
    kernels: Sequence[Kernel],
    rate_hz: float,
    models: Models | None,
    notes: str = "",
    *,
    rounding: Rounding | None = None,
) -> bytes:
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
    rounding : Rounding, optional
        How finely the models are kept.
    """
    rounding = rounding or Rounding()
    head = {
        "name": name,
        "rate_hz": rate_hz,
        "notes": notes,
        "kernels": [{"uid": k.uid, "n_taps": int(k.taps.shape[1]), "fiducial": k.fiducial} for k in kernels],
        "priors": None if models is None else rounding.to_dict(),
    }
    text = json.dumps(head, separators=(",", ":")).encode()
    body = struct.pack("<I", len(text)) + text
    body += b"".join(k.taps[:1].astype("<i2").tobytes() for k in kernels)
    if models is not None:
        body += pack_models(models, rounding)
    start = _MAGIC + bytes([_VERSION])
    if models is None:
        return start + _STORED + body  # the blank bank has one hash, whatever liblzma made it
    packed = lzma.compress(body, format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC32, preset=9 | lzma.PRESET_EXTREME)
    return start + _XZ + packed


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
        When the bytes are no bank.
    UnsupportedError
        When they are one of another version.
    """
    start = len(_MAGIC) + 1
    if data[: len(_MAGIC)] != _MAGIC or not start < len(data) <= MAX_BANK_BYTES:
        raise CorruptError(f"{where}: not a bank file", hint="restore it from a copy of the archive")
    if data[start - 1] != _VERSION:
        advice = "install a newer sanstream" if data[start - 1] > _VERSION else "train it anew"
        raise UnsupportedError(
            f"{where}: bank file of version {data[start - 1]}, this sanstream reads {_VERSION}", hint=advice
        )
    try:
        body = _unpack_body(data[start:])
        (n,) = struct.unpack_from("<I", body)
        if n > min(_MAX_JSON, len(body) - 4):
            raise ValueError(f"a text of {n} bytes")
        head = json.loads(body[4 : 4 + n].decode("utf-8"))
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
        n = item["n_taps"]
        if type(n) is not int or type(item["fiducial"]) is not int:
            raise ValueError(f"kernel of {n!r} taps with fiducial {item['fiducial']!r}")
        if not 1 <= n <= MAX_TAPS or not 0 <= item["fiducial"] < n or not re.fullmatch("[0-9a-f]{8}", item["uid"]):
            raise ValueError(f"kernel {item['uid']!r} of {n} taps with fiducial {item['fiducial']}")
        taps = np.frombuffer(rest, "<i2", n).reshape(1, n)
        kernels.append(Kernel(item["uid"], taps, item["fiducial"]))
        rest = rest[2 * n :]
    models = blank_models()
    if head["priors"] is not None:
        models = unpack_models(rest, Rounding.from_dict(head["priors"]))
    elif rest:
        raise ValueError(f"{len(rest)} bytes after the kernels")
    name, notes, rate_hz = head["name"], head["notes"], head["rate_hz"]
    if not isinstance(name, str) or not isinstance(notes, str) or type(rate_hz) not in (int, float):
        raise ValueError(f"name {name!r}, notes {notes!r}, rate {rate_hz!r}")
    name.encode("utf-8")  # half a surrogate pair could not be printed
    if not 0 <= rate_hz < math.inf:
        raise ValueError(f"rate {rate_hz}")
    digest = hashlib.sha256(data).hexdigest()
    return Bank(digest, name, bytes(data), tuple(kernels), float(rate_hz), models)


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
