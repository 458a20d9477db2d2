"""A disk for tests that loses power: what was not synced is gone, torn or zero, and names that were not synced, too."""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self
from weakref import WeakKeyDictionary

from sanstream import durable
from sanstream.durable import Data, Disk, OpenFile
from sanstream.durable_tree import Change, File, Folder, Node, load_tree, set_entry, write_tree


class PowerLost(BaseException):
    """The power is gone. Not an :class:`Exception`, so that nothing handles it by mistake."""


class PowerCut(Disk):
    """Does as the real disk below one folder, and loses power at a chosen moment.

    As a context manager it is the disk in use; on leaving after the cut it rewrites the folder to what survived,
    and swallows :class:`PowerLost`. What the folder holds at the start is safe.

    Parameters
    ----------
    root : Path
        Files elsewhere are not simulated.
    at : int, optional
        Lose power before the operation of this number, from 1.
    point : str, optional
        Lose power when this point is reached: ``"name"`` or ``"name:nth"``.
    ignore : str, optional
        Do nothing at this fsync site: as if the program lacked it.
    tear : str or int
        What becomes of bytes and names that were not synced: ``"none"`` survives; ``"zeros"``: the file has its new
        length, but zeros for bytes, and names survive; a number: chosen at random with this seed (a prefix,
        perhaps zeros, single sectors after a truncation, a prefix of all changes of names).

    Attributes
    ----------
    operations : int
        How many there were.
    sites, points : Counter of str
        Fsync sites and points that were reached.
    lost : bool
        Whether the power is gone.
    """

    def __init__(
        self,
        root: Path,
        *,
        at: int | None = None,
        point: str | None = None,
        ignore: str | None = None,
        tear: str | int = "none",
    ) -> None:
        self._root = root.resolve()
        self._at = at
        self._point = durable.parse_fault(point) if point else None
        self._ignore = ignore
        self._tear = random.Random(tear) if isinstance(tear, int) else tear
        self._tree = load_tree(self._root)
        self._changes: list[list[Change]] = []
        self._files: WeakKeyDictionary[OpenFile, File] = WeakKeyDictionary()
        self.operations = 0
        self.sites: Counter[str] = Counter()
        self.points: Counter[str] = Counter()
        self.lost = False

    def __enter__(self) -> Self:
        durable._disks.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        durable._disks.remove(self)
        if self.lost:
            self.restore()
        return isinstance(error, PowerLost)

    def cut(self) -> NoReturn:
        """Lose power now.

        Raises
        ------
        PowerLost
        """
        self.lost = True
        raise PowerLost

    def restore(self) -> None:
        """Rewrite the folder to what survived."""
        safe = self._survivors()
        for path in self._root.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        write_tree(self._root, self._tree, safe, "none" if self._tear == "none" else self._tear)

    def create_log(self, path: Path, *, mode: int = 0o600) -> OpenFile:
        """As :meth:`Disk.create_log`."""
        self._step()
        file = super().create_log(path, mode=mode)
        parts = self._parts(path)
        if parts is not None:
            node = File(b"", safe=False)
            self._files[file] = node
            self._change((self._folder(parts[:-1]), parts[-1], node))
        return file

    def open_log(self, path: Path) -> OpenFile:
        """As :meth:`Disk.open_log`."""
        file = super().open_log(path)
        node = self._node(path)
        if isinstance(node, File):
            self._files[file] = node
        return file

    def append(self, file: OpenFile, data: Data) -> None:
        """As :meth:`Disk.append`."""
        self._step()
        super().append(file, data)
        if file in self._files:
            self._files[file].live += data

    def truncate(self, file: OpenFile, length: int) -> None:
        """As :meth:`Disk.truncate`."""
        self._step()
        super().truncate(file, length)
        if file in self._files:
            self._files[file].truncate(length)

    def sync(self, file: OpenFile, site: str) -> None:
        """Make a file's bytes safe, unless the site is ignored; the real disk is not asked."""
        if self._syncs(site) and file in self._files:
            self._files[file].sync()

    def sync_path(self, path: Path, site: str) -> None:
        """Make safe what another library wrote."""
        if self._syncs(site):
            node = self._node(path)
            if isinstance(node, File):
                node.live = bytearray(path.read_bytes())
                node.sync()

    def sync_folder(self, path: Path, site: str) -> None:
        """Make a folder's entries safe, also those that did not go through this disk."""
        if not self._syncs(site) or (parts := self._parts(path)) is None:
            return
        folder = self._folder(parts)
        there = set(os.listdir(path))
        for name in there - set(folder.live):
            self._node(path / name)
        folder.live = {n: node for n, node in folder.live.items() if n in there}
        folder.safe = dict(folder.live)
        kept = ([c for c in group if c[0] is not folder] for group in self._changes)
        self._changes = [group for group in kept if group]

    def rename(self, source: Path, target: Path) -> None:
        """As :meth:`Disk.rename`."""
        self._step()
        node = self._node(source)
        super().rename(source, target)
        old, new = self._parts(source), self._parts(target)
        if old is not None and new is not None and node is not None:
            self._change((self._folder(old[:-1]), old[-1], None), (self._folder(new[:-1]), new[-1], node))

    def remove(self, path: Path) -> None:
        """As :meth:`Disk.remove`."""
        self._step()
        super().remove(path)
        self._forget(path)

    def remove_tree(self, path: Path) -> None:
        """As :meth:`Disk.remove_tree`; what is below goes at once."""
        self._step()
        super().remove_tree(path)
        self._forget(path)

    def reach(self, point: str) -> None:
        """Count a point, and lose power there when it is the chosen one."""
        if self.lost:
            raise PowerLost
        super().reach(point)
        self.points[point] += 1
        if self._point == (point, self.points[point]):
            self.cut()

    def _mkdir(self, path: Path, mode: int) -> None:
        self._step()
        super()._mkdir(path, mode)
        parts = self._parts(path)
        if parts:
            parent = self._folder(parts[:-1])
            if parts[-1] not in parent.live:
                self._change((parent, parts[-1], Folder()))

    def _step(self) -> None:
        if self.lost:
            raise PowerLost
        self.operations += 1
        if self.operations == self._at:
            self.cut()

    def _syncs(self, site: str) -> bool:
        self._step()
        self.sites[site] += 1
        return site != self._ignore

    def _parts(self, path: Path) -> tuple[str, ...] | None:
        """Return a path's names below the root; None when it is elsewhere."""
        path = path.parent.resolve() / path.name
        return path.relative_to(self._root).parts if path.is_relative_to(self._root) else None

    def _node(self, path: Path) -> Node | None:
        """Find a file or folder; one that did not go through this disk is taken in, not safe."""
        parts = self._parts(path)
        if parts is None:
            return None
        if not parts:
            return self._tree
        folder = self._folder(parts[:-1])
        node = folder.live.get(parts[-1])
        if node is None and path.exists():
            node = Folder() if path.is_dir() else File(path.read_bytes(), safe=False)
            self._change((folder, parts[-1], node))
        return node

    def _folder(self, parts: tuple[str, ...]) -> Folder:
        folder = self._tree
        for name in parts:
            node = folder.live.get(name)
            if not isinstance(node, Folder):
                node = Folder()
                self._change((folder, name, node))
            folder = node
        return folder

    def _forget(self, path: Path) -> None:
        parts = self._parts(path)
        if parts and parts[-1] in (folder := self._folder(parts[:-1])).live:
            self._change((folder, parts[-1], None))

    def _change(self, *changes: Change) -> None:
        """Change names in one step."""
        for folder, name, node in changes:
            set_entry(folder.live, name, node)
        self._changes.append(list(changes))

    def _survivors(self) -> dict[int, dict[str, Node]]:
        """Return the safe entries of the folders whose unsynced changes partly survive, by the folders' ids."""
        if self._tear == "none":
            return {}
        n = len(self._changes)
        stop = self._tear.randint(0, n) if isinstance(self._tear, random.Random) else n
        out: dict[int, dict[str, Node]] = {}
        for group in self._changes[:stop]:
            for folder, name, node in group:
                set_entry(out.setdefault(id(folder), dict(folder.safe)), name, node)
        return out
