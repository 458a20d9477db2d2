"""Files and folders as processes see them and as a disk holds them, for tests that cut the power."""

from __future__ import annotations

import random
from pathlib import Path

SECTOR = 512
"""Bytes that a disk writes at once."""


class File:
    """A file's bytes as processes see them, how many of them are safe, and what a truncation has not yet replaced."""

    def __init__(self, data: bytes, *, safe: bool) -> None:
        self.live = bytearray(data)
        self.safe = len(data) if safe else 0
        self.old: bytes | None = None

    def sync(self) -> None:
        """Make all bytes safe."""
        self.safe, self.old = len(self.live), None

    def truncate(self, length: int) -> None:
        """Cut; until the next sync the disk may hold the old bytes."""
        if length < self.safe and self.old is None:
            self.old = bytes(self.live[: self.safe])
        self.safe = min(self.safe, length)
        del self.live[length:]

    def survives(self, tear: str | random.Random) -> bytes:
        """Return what a disk holds after the cut."""
        kept = bytes(self.live[: self.safe]) if self.old is None else self.old
        new = bytes(self.live)
        if tear == "none" or (kept == new and self.old is None):
            return kept
        if isinstance(tear, str):
            return kept + bytes(max(len(new) - len(kept), 0))
        if self.old is not None and tear.random() < 0.5:
            return _mixed(kept, new, tear)
        whole = new if self.old is None or tear.random() < 0.5 else kept
        stop = tear.randint(min(self.safe, len(whole)), len(whole))
        zeros = tear.randint(0, len(whole) - stop) if tear.random() < 0.5 else 0
        return whole[:stop] + bytes(zeros)


class Folder:
    """A folder's entries as processes see them, and those that are safe."""

    def __init__(self) -> None:
        self.live: dict[str, File | Folder] = {}
        self.safe: dict[str, File | Folder] = {}


Node = File | Folder
Change = tuple[Folder, str, Node | None]
"""A folder's entry and what it now names; None when it is gone."""


def set_entry(entries: dict[str, Node], name: str, node: Node | None) -> None:
    """Name a node in a folder, or with None take the name away."""
    if node is None:
        entries.pop(name, None)
    else:
        entries[name] = node


def _mixed(kept: bytes, new: bytes, tear: random.Random) -> bytes:
    """Return sectors of either content, for a file that was truncated and has grown again."""
    length = tear.choice((len(kept), len(new), max(len(kept), len(new))))
    kept, new = kept.ljust(length, b"\0")[:length], new.ljust(length, b"\0")[:length]
    picks = (tear.choice((kept, new))[at : at + SECTOR] for at in range(0, length, SECTOR))
    return b"".join(picks)


def load_tree(path: Path) -> Folder:
    """Read a folder with all below; all of it is safe."""
    folder = Folder()
    for entry in path.iterdir():
        folder.live[entry.name] = load_tree(entry) if entry.is_dir() else File(entry.read_bytes(), safe=True)
    folder.safe = dict(folder.live)
    return folder


def write_tree(path: Path, folder: Folder, survivors: dict[int, dict[str, Node]], tear: str | random.Random) -> None:
    """Write what survived.

    Parameters
    ----------
    path : Path
    folder : Folder
    survivors : dict of int to dict
        Entries that survive, by ``id`` of their folder, where they are not the safe ones.
    tear : str or random.Random
        As :class:`~sanstream.durable_power.PowerCut` has it.
    """
    path.mkdir(mode=0o700, exist_ok=True)
    for name, node in survivors.get(id(folder), folder.safe).items():
        if isinstance(node, Folder):
            write_tree(path / name, node, survivors, tear)
        else:
            (path / name).write_bytes(node.survives(tear))
