"""The raw journal: what feeds delivered, as received, in numbered files that are removed whole when done."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from sanstream.chunk import Chunk, Event
from sanstream.durable import Disk, DiskFull, SyncError, current_disk, usable
from sanstream.errors import CorruptError, InputError
from sanstream.journal_records import (
    CHUNK,
    DEFINE,
    EVENT,
    Definition,
    Entry,
    definition_of,
    pack_chunk,
    pack_definition,
    pack_event,
    unpack_chunk,
    unpack_definition,
    unpack_event,
)
from sanstream.log import JOURNAL, LogWriter
from sanstream.log_read import Frame, LogReader, open_reading, read_head

FILE_BYTES = 16 << 20


class Journal:
    """Appends to the newest file of a folder; each file defines every stream that it holds.

    Opening makes all that an earlier process left durable, cuts a torn tail off, and starts a new file.

    Parameters
    ----------
    folder : Path
        Made when missing.
    disk : Disk, optional
        Default: the one in use.
    file_bytes : int
        A file that is this long is followed by a new one.

    Attributes
    ----------
    current : int
        Number of the file that is written.
    torn_bytes : int
        What was cut off on opening; more than 0 after a power cut or a kill while writing.

    Raises
    ------
    CorruptError
        When bytes that were safe have changed.
    UnsupportedError
        When a newer version wrote the newest file.
    DiskFull, SyncError
    InputError
        When the folder cannot be used.
    """

    def __init__(self, folder: Path, disk: Disk | None = None, *, file_bytes: int = FILE_BYTES) -> None:
        self._folder = folder
        self._disk = disk or current_disk()
        self._file_bytes = file_bytes
        self._ids: dict[Definition, int] = {}
        self._log: LogWriter | None = None
        self._sizes: dict[int, int] = {}
        with usable(folder):
            self._disk.make_folder(folder, mode=0o700, site="journal.parent")
            self._disk.sync_folder(folder.parent, "journal.parent")
            numbers = journal_numbers(folder)
            self.current = numbers[-1] if numbers else 0
            self.torn_bytes = self._settle() if numbers else 0
            self._sizes = {n: _path(folder, n).stat().st_size for n in journal_numbers(folder)}
        self.roll()

    @property
    def size_bytes(self) -> int:
        """Bytes of all files, with what waits to be written."""
        return sum(self._sizes.values()) + self._writer().size

    def numbers(self) -> list[int]:
        """Return the numbers of all files, oldest first; the last is the current one."""
        return [*self._sizes, self.current]

    def define(self, definition: Definition) -> None:
        """Write a definition into the current file, unless it is there; appending a chunk does it, too.

        Raises
        ------
        DiskFull, SyncError
        """
        if definition not in self._ids:
            number = len(self._ids)
            self._writer().append(DEFINE, pack_definition(number, definition))
            self._ids[definition] = number

    def append_chunk(self, definition: Definition, chunk: Chunk) -> int:
        """Take a chunk; it is durable after the next :meth:`sync`.

        Parameters
        ----------
        definition : Definition
            Of its recording, stream and session.
        chunk : Chunk

        Returns
        -------
        int
            Number of the file that holds it.

        Raises
        ------
        DiskFull
            The chunk is not taken; all before it are kept, and the journal stays usable.
        SyncError
        InputError
            When the definition is another stream's.
        """
        if (
            chunk.session != definition.session
            or chunk.stream != definition.stream
            or (chunk.recording != definition.recording or chunk.samples.shape[1] != len(definition.channels))
        ):
            raise InputError("journal: a chunk under the definition of another session or channel set")
        log = self._room()
        number = self._ids.get(definition)
        if number is None:
            self.define(definition)
            number = self._ids[definition]
        log.append(CHUNK, pack_chunk(number, chunk))
        return self.current

    def append_event(self, event: Event) -> int:
        """Take an event; as :meth:`append_chunk`."""
        self._room().append(EVENT, pack_event(event))
        return self.current

    def flush(self) -> None:
        """Let other processes see what was appended; durable only after :meth:`sync`."""
        self._writer().flush()

    def sync(self) -> None:
        """Make everything appended before durable, with one fsync; nothing to do costs nothing.

        Raises
        ------
        DiskFull
            Nothing is lost: what was appended waits in memory; call again later.
        SyncError
            The journal then takes nothing more: the process must end, and the next one recovers.
        """
        self._writer().sync()

    def roll(self) -> None:
        """Sync, and begin a new file.

        Raises
        ------
        DiskFull
            The old file then stays the current one.
        SyncError
        """
        if self._log is not None:
            self._log.sync()
        number = self.current + 1
        path = _path(self._folder, number)
        try:
            file = self._disk.create_log(path)
            log = LogWriter(self._disk, file, number, 0, JOURNAL)
            self._disk.sync_folder(self._folder, "journal.folder")
        except DiskFull:
            self._disk.remove(path)
            raise
        except OSError as error:
            raise SyncError("journal: cannot begin a new file", error.strerror or str(error)) from error
        if self._log is not None:
            self._sizes[self.current] = self._log.size
            self._log.close()
        self._log, self._ids, self.current = log, {}, number
        self._disk.reach("journal.created")

    def remove(self, file_number: int) -> None:
        """Remove a whole file; one that is gone is no error. After a power cut it may be back, whole.

        Raises
        ------
        InputError
            When it is the current one.
        """
        if file_number == self.current:
            raise InputError(f"journal: file {file_number} is being written", hint="roll first")
        if self._sizes.pop(file_number, None) is not None:
            self._disk.remove(_path(self._folder, file_number))
            self._disk.reach("journal.removed")

    def close(self) -> None:
        """Sync, end the file and close it."""
        if self._log is not None:
            log, self._log = self._log, None
            log.seal()

    def _room(self) -> LogWriter:
        if self._writer().size >= self._file_bytes:
            self.roll()
        return self._writer()

    def _writer(self) -> LogWriter:
        if self._log is None:
            raise SyncError("journal: not usable", "it is closed")
        return self._log

    def _settle(self) -> int:
        """Make the newest file end with a whole, durable frame; return the bytes cut off."""
        path = _path(self._folder, self.current)
        file = self._disk.open_log(path)
        try:
            seed = read_head(file.handle, JOURNAL, path.name)
            if seed is None:
                self._disk.remove(path)
                return 0
            _check_seed(seed, self.current, path.name)
            reader = LogReader(file.handle, self.current)
            for _ in reader:
                pass
            reader.check_end(path.name, last=True)
            torn = path.stat().st_size - reader.end
            if torn:
                self._disk.truncate(file, reader.end)
            # a killed process may have left bytes that readers see but no disk holds yet
            self._disk.sync(file, "journal.settle")
            return torn
        finally:
            file.close()


def journal_numbers(folder: Path) -> list[int]:
    """Return the numbers of a journal's files, oldest first."""
    names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(n[:16]) for n in names if len(n) == 20 and n.endswith(".log") and n[:16].isdecimal())


def read_journal(folder: Path, *, wanted: Callable[[Definition], bool] | None = None) -> Iterator[tuple[int, Entry]]:
    """Read a journal, also another process's that is written meanwhile.

    Parameters
    ----------
    folder : Path
    wanted : callable, optional
        Tells for every chunk, by what it is of, whether it is yielded; default: all. Others are not unpacked.

    Yields
    ------
    tuple of (int, ChunkEntry or EventEntry)
        With the number of the file that holds it; in the order of writing.

    Raises
    ------
    CorruptError
        When bytes that were safe have changed. A short tail of the last file is no error, nor a file that vanishes.
    UnsupportedError
        When a newer version wrote it.
    """
    numbers = journal_numbers(folder)
    for number in numbers:
        yield from _read_file(folder, number, wanted, last=number == numbers[-1])


def _read_file(
    folder: Path, number: int, wanted: Callable[[Definition], bool] | None, *, last: bool
) -> Iterator[tuple[int, Entry]]:
    path = _path(folder, number)
    try:
        file = open_reading(path)
    except FileNotFoundError:
        return
    try:
        seed = read_head(file.handle, JOURNAL, path.name)
        if seed is None and last:
            return
        _check_seed(seed, number, path.name)
        definitions: dict[int, Definition] = {}
        reader = LogReader(file.handle, number)
        for frame in reader:
            entry = _entry(frame, definitions, path.name, wanted)
            if entry is not None:
                yield number, entry
        reader.check_end(path.name, last=last)
    finally:
        file.close()


def _entry(
    frame: Frame, definitions: dict[int, Definition], name: str, wanted: Callable[[Definition], bool] | None
) -> Entry | None:
    try:
        if frame.kind == CHUNK:
            if wanted is not None and not wanted(definition_of(frame.body, definitions)):
                return None
            return unpack_chunk(frame.body, definitions)
        if frame.kind == EVENT:
            return unpack_event(frame.body)
        if frame.kind == DEFINE:
            number, definition = unpack_definition(frame.body)
            definitions[number] = definition
            return None
    except (InputError, KeyError, TypeError, ValueError, struct.error) as error:
        raise CorruptError(f"{name}: the record at byte {frame.offset} cannot be read ({error})") from error
    raise CorruptError(f"{name}: the record at byte {frame.offset} is of unknown type {frame.kind}")


def _check_seed(seed: int | None, number: int, name: str) -> None:
    if seed != number:
        found = "is cut short" if seed is None else f"says file {seed}"
        raise CorruptError(f"{name}: its head {found}", hint="was the file renamed or copied? Put it back, or away")


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:016d}.log"
