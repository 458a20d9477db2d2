"""What begins: recordings that the archive knows already, lanes with their qualities and names."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from sanstream.archive_grow import GrowingArchive
from sanstream.archive_store import StoreError
from sanstream.config_quality import qualities_of
from sanstream.daemon.coverage import Coverage
from sanstream.daemon.lanes import Lane
from sanstream.daemon.streams import RecordingState, StreamState, segment_name
from sanstream.durable import DiskFull
from sanstream.encode import segment_sizes
from sanstream.encode_effort import effort_named
from sanstream.errors import InputError, SanstreamError
from sanstream.shard import shard_samples
from sanstream.signal import Channel


class StoreDown(DiskFull):
    """The object store cannot be asked what it has of a recording; as with a full disk, the feed waits."""

    def __init__(self, error: SanstreamError) -> None:
        InputError.__init__(self, error.message, hint="it is tried again by itself")


class Opener:
    """Opens recordings and lanes.

    Parameters
    ----------
    archive : GrowingArchive
    quality : mapping of str to str
        ``Settings.quality``.
    effort : str
    shard_s : float, optional
        Seconds of a full shard, where it must not grow as long as usual.
    """

    def __init__(
        self, archive: GrowingArchive, quality: Mapping[str, str], effort: str, shard_s: float | None = None
    ) -> None:
        self._shard_s = shard_s
        self._archive = archive
        self._quality = quality
        self._effort = effort_named(effort)

    def recording(self, name: str) -> RecordingState | str | None:
        """Return a recording that the archive has from before the state folder; a free name when it is of files."""
        try:
            if not self._archive.has(name):
                return None
            manifest = self._archive.manifest(name)
        except StoreError as error:
            raise StoreDown(error) from error
        except SanstreamError:
            return f"{name[:120]}.live"
        if manifest is None:
            return None
        covered = {s.name: Coverage((e.start_sample, e.stop_sample) for e in s.segments) for s in manifest.streams}
        return RecordingState(name, manifest.start_ns or 0, "", covered)

    def lane(self, stream: StreamState, kind: str, start: int, channels: tuple[Channel, ...], flags: list[str]) -> Lane:
        """Open a lane."""
        qualities, _ = qualities_of(self._quality, channels)
        block = segment_sizes(stream.rate, qualities, self._effort)[1]
        shard = 0
        if self._shard_s is not None:
            shard = shard_samples(float(stream.rate), len(channels), block, seconds=self._shard_s)
        lane = Lane(stream.key, kind, start, stream.rate, channels, qualities, block, shard, flags=flags)
        if self._archive.is_shared:  # other daemons may add to it, and asking would wait for it
            lane.name = f"{start}-{secrets.token_hex(6)}"
            return lane
        taken = {other.name for other in stream.lanes}
        manifest = self._archive.manifest(stream.recording.name)
        if manifest is not None:
            taken |= {e.name for s in manifest.streams if s.name == stream.name for e in s.segments}
        lane.name = segment_name(start, kind, taken)
        return lane
