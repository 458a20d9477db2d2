"""Banks on this machine: listed, chosen by name, hash or file, and installed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sanstream.bank import SUFFIX, Bank, named_banks, read_bank, user_bank_folder
from sanstream.errors import BankError, CorruptError, InputError

PACKAGE = "package"


@dataclass(frozen=True)
class PlacedBank:
    """A bank and where it was found.

    Parameters
    ----------
    bank : Bank
    place : str
        ``"package"`` or a file's path.
    name : str
        Under which a user may ask for it.
    """

    bank: Bank
    place: str
    name: str

    def summary(self) -> dict[str, Any]:
        """Return what ``banks list`` prints."""
        return {
            "name": self.name,
            "id": self.bank.id,
            "n_kernels": len(self.bank.kernels),
            "n_bytes": len(self.bank.data),
            "place": self.place,
        }

    def details(self) -> dict[str, Any]:
        """Return what ``banks show`` prints."""
        rate = self.bank.rate_hz
        kernels = [
            {
                "uid": kernel.uid,
                "n_taps": kernel.taps.shape[1],
                "duration_s": kernel.taps.shape[1] / rate if rate else None,
                "fiducial": kernel.fiducial,
            }
            for kernel in self.bank.kernels
        ]
        return {**self.summary(), "rate_hz": rate, "kernels": kernels}


def installed_banks() -> list[PlacedBank]:
    """Return every readable bank: shipped ones, then ``$SANSTREAM_BANKS``, then the user's data folder.

    A file that is no bank is left out, and so is a second copy of a bank.
    """
    found = [PlacedBank(bank, PACKAGE, name) for name, bank in named_banks().items()]
    seen = {placed.bank.id for placed in found}
    for file in _bank_files():
        try:
            bank = read_bank(file.read_bytes())
        except (OSError, CorruptError, BankError):
            continue
        if bank.id not in seen:
            seen.add(bank.id)
            found.append(PlacedBank(bank, str(file), bank.name or file.stem))
    return found


def _bank_files() -> Iterator[Path]:
    named = os.environ.get("SANSTREAM_BANKS")
    for folder in [Path(named)] if named else []:
        yield from sorted(folder.glob(f"*{SUFFIX}"))
    yield from sorted(user_bank_folder().glob(f"*{SUFFIX}"))


def choose_bank(text: str) -> PlacedBank:
    """Find a bank by name, by the first digits (at least six) of its hash, or by file.

    Parameters
    ----------
    text : str

    Returns
    -------
    PlacedBank
        The bank, where it was found, and its name there.

    Raises
    ------
    BankError
        When there is none, or more than one fits the digits.
    CorruptError
        When the file is not a bank.
    """
    file = Path(text)
    if file.suffix == SUFFIX or os.sep in text:
        if not file.is_file():
            raise BankError(f"bank file {text} is not there", hint="check the path, or see: sanstream banks list")
        bank = read_bank(file.read_bytes(), f"bank {text}")
        return PlacedBank(bank, text, bank.name or file.stem)
    banks = installed_banks()
    hits = [b for b in banks if b.name == text] or [
        b for b in banks if len(text) >= 6 and b.bank.id.startswith(text.lower())
    ]
    if len(hits) == 1:
        return hits[0]
    if hits:
        ids = ", ".join(b.bank.id[:16] for b in hits)
        raise BankError(f"bank {text!r} may be any of {ids}", hint="write more digits of the hash")
    raise BankError(
        f"there is no bank {text!r}",
        hint=f"use one of {', '.join(b.name for b in banks)}, a .sanbank file, or run: sanstream banks install ARCHIVE",
    )


def install_banks(source: str | Path, folder: Path | None = None) -> list[Path]:
    """Copy the banks that an archive carries to where every reader finds them.

    Parameters
    ----------
    source : path
        An archive, or one ``.sanbank`` file.
    folder : Path, optional
        Default: ``$SANSTREAM_BANKS``, else the user's data folder.

    Returns
    -------
    list of Path
        The files that are now there.

    Raises
    ------
    InputError
        When the source holds no bank.
    CorruptError
        When a bank is not what its name says.
    """
    place = Path(source)
    files = [place] if place.is_file() else sorted(place.glob(f"banks/*{SUFFIX}"))
    if not files:
        raise InputError(f"{source} carries no bank", hint="name an archive that sanstream wrote, or a .sanbank file")
    target = folder or Path(os.environ.get("SANSTREAM_BANKS") or user_bank_folder())
    target.mkdir(parents=True, exist_ok=True)
    return [_install(file, target, check_name=not place.is_file()) for file in files]


def _install(file: Path, folder: Path, *, check_name: bool) -> Path:
    data = file.read_bytes()
    bank = read_bank(data, f"bank {file}")
    if check_name and file.stem != bank.id:
        raise CorruptError(
            f"bank {file}: its hash is {bank.id[:12]}", hint="restore the file from a copy of the archive"
        )
    final = folder / f"{bank.id}{SUFFIX}"
    if not final.is_file() or final.read_bytes() != data:
        _write_whole(final, data)
    return final


def check_new_bank(target: Path) -> None:
    """Refuse a name that a new bank cannot have.

    Raises
    ------
    InputError
        When the name does not end in ``.sanbank``, the file exists, or its folder does not.
    """
    if target.suffix != SUFFIX:
        raise InputError(f"{target} is no name of a bank", hint=f"let it end in {SUFFIX}")
    if target.exists():
        raise InputError(f"{target} exists already", hint="choose another name")
    if not target.parent.is_dir():
        raise InputError(f"{target.parent}: no such folder", hint="make it first")


def place_bank(bank: Bank, target: Path) -> None:
    """Write a bank as a new file, whole or not at all.

    Raises
    ------
    InputError
        As :func:`check_new_bank`.
    """
    check_new_bank(target)
    _write_whole(target, bank.data)


def _write_whole(final: Path, data: bytes) -> None:
    draft = final.with_suffix(f".tmp{os.getpid()}")
    try:
        draft.write_bytes(data)
        draft.replace(final)
    finally:
        draft.unlink(missing_ok=True)
