"""What a random life's engine runs on: a disk that is full or kills when told, and banks that change by chance."""

from __future__ import annotations

from pathlib import Path
from random import Random

from sanstream.daemon.adapting import Adapting
from sanstream.durable import Data, Disk, DiskFull, OpenFile


class Killed(BaseException):
    """The process was killed here."""


class WildDisk(Disk):
    """A real disk that is full, or kills, when told."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.kill_in: int | None = None

    def append(self, file: OpenFile, data: Data) -> None:
        """Write what fits."""
        self._tick()
        if self.left is None:
            super().append(file, data)
            return
        fits = data[: self.left]
        super().append(file, fits)
        self.left -= len(fits)
        if len(fits) < len(data):
            raise DiskFull(file.path.name)

    def sync(self, file: OpenFile, site: str) -> None:
        """Count; nothing here proves an fsync."""
        self._tick()  # nothing here proves an fsync: those are pipelines/faults' power cuts

    def rename(self, source: Path, target: Path) -> None:
        """Rename, or die."""
        self._tick()
        super().rename(source, target)

    def remove(self, path: Path) -> None:
        """Remove, or die."""
        self._tick()
        super().remove(path)

    def reach(self, point: str) -> None:
        """Die here, or not."""
        self._tick()

    def _tick(self) -> None:
        if self.kill_in is not None:
            self.kill_in -= 1
            if self.kill_in < 0:
                raise Killed


class RandomBanks(Adapting):
    """Adopts another bank now and then, as far as segments are concerned."""

    def __init__(self, random: Random) -> None:
        super().__init__(None)
        self._random = random
        self.keys: list[tuple[str, str]] = []

    def poll(self) -> list[tuple[tuple[str, str], str]]:
        """Choose a stream now and then."""
        return [(self._random.choice(self.keys), "bank")] if self.keys and self._random.random() < 0.02 else []
