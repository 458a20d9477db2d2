"""Scaffold of bank.py: one fake bank."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sanstream.errors import BankError

_FAKE = b"sanbank-scaffold"


@dataclass(frozen=True)
class Bank:
    """A bank."""

    id: str
    name: str
    data: bytes
    kernels: tuple[object, ...] = ()
    kernel_uids: tuple[str, ...] = ()


def read_bank(data: bytes) -> Bank:
    """Parse a bank."""
    return Bank(hashlib.sha256(data).hexdigest(), "general", data)


def named_banks() -> dict[str, Bank]:
    """Shipped banks by name."""
    return {"general": read_bank(_FAKE)}


def user_bank_folder() -> Path:
    """Folder of the user's banks."""
    return Path(os.environ.get("XDG_DATA_HOME", "/nonexistent")) / "sanstream" / "banks"


def find_bank(bank_id: str, *, folders: Sequence[Path | str] = ()) -> Bank:
    """Find a bank by hash."""
    for bank in named_banks().values():
        if bank.id == bank_id:
            return bank
    places = [Path(f) for f in folders] + [Path(p) for p in [os.environ.get("SANSTREAM_BANKS")] if p]
    for place in [*places, user_bank_folder()]:
        file = place / f"{bank_id}.sanbank"
        if file.is_file():
            bank = read_bank(file.read_bytes())
            if bank.id == bank_id:
                return bank
    raise BankError(f"bank {bank_id[:12]} is not on this machine", hint="run: sanstream banks install ARCHIVE")
