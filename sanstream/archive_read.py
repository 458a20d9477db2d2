"""StreamReader: samples and activations by time and channel, from any container."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sanstream.archive_layers import fill, present
from sanstream.archive_manifest import Manifest, SegmentEntry, StreamEntry
from sanstream.archive_parquet import ParquetReader
from sanstream.archive_zarr import ZarrReader, missing_codes
from sanstream.bank import Bank
from sanstream.block_coding import SegmentCoding
from sanstream.decode_many import decode_blocks
from sanstream.errors import CorruptError, InputError
from sanstream.signal import IntSamples
from sanstream.times import Time, parse_time

When = int | float | str | Fraction | Time | None
"""A sample of the stream (int), seconds from the start (float, Fraction), or text (``+90s``, ``@7200``, ISO 8601)."""
_NUMBERS = (int, float, Fraction, np.number)
BankFinder = Callable[[str], Bank]


class StreamReader:
    """The channels of one recording that share one rate and sample grid.

    Attributes
    ----------
    name : str
    rate : Fraction
        Samples per second.
    n_samples : int
        Length of the grid.
    channels : tuple of Channel
        Every channel of any segment, in order of first appearance.
    """

    def __init__(
        self, manifest: Manifest, entry: StreamEntry, container: ZarrReader | ParquetReader, find_bank: BankFinder
    ) -> None:
        self._manifest = manifest
        self.entry = entry
        self._container = container
        self._find_bank = find_bank
        self._codings: dict[str, SegmentCoding] = {}
        self.name = entry.name
        self.rate = entry.rate
        self.n_samples = entry.n_samples
        self.channels = entry.channels

    @property
    def layered(self) -> bool:
        """Whether segments overlap: those that came late fill what others lack."""
        return self.entry.layered

    def __repr__(self) -> str:
        labels = ", ".join(c.label for c in self.channels[:4])
        return f"<StreamReader {self.name}: {self.n_samples} samples at {float(self.rate):g} Hz of {labels}>"

    def read(
        self,
        t0: When = None,
        t1: When = None,
        channels: Sequence[str | int] | None = None,
        physical: bool = False,
    ) -> npt.NDArray[Any]:
        """Read samples.

        Parameters
        ----------
        t0, t1 : int, float, Fraction, str or Time, optional
            First sample and one past the last: ``int`` counts samples of this stream, ``float`` and
            ``Fraction`` seconds from the start, text is as the commands take it. Default: everything.
        channels : sequence of str or int, optional
            Labels or places in ``channels``, in the order wanted.
        physical : bool
            Return physical units instead of the ADC's integers.

        Returns
        -------
        ndarray, shape (n_samples, n_channels)
            int32, or float64 when ``physical``. Where there is no sample: the channel's missing code
            (the array's fill value when it has none), or NaN.

        Raises
        ------
        InputError
            On a time or channel that is not there.
        CorruptError
            When something read has changed.
        """
        first, stop = self.span(t0, t1)
        wanted = self.pick(channels)
        labels = [self.channels[i].label for i in wanted]
        segments = list(self.segments_between(first, stop))
        if len(segments) == 1:
            whole = self._within(segments[0], first, stop, labels, physical)
            if whole is not None:
                return whole
        out = self._empty(stop - first, wanted, physical)
        held = np.zeros(out.shape if self.layered else (0, len(wanted)), bool)
        for segment in segments:
            low, high = max(first, segment.start_sample), min(stop, segment.stop_sample)
            own = segment.places
            pairs = [(column, own[label]) for column, label in enumerate(labels) if label in own]
            rows = slice(low - first, high - first)
            if not pairs or (self.layered and held[rows, [column for column, _ in pairs]].all()):
                continue
            places = [place for _, place in pairs]
            got = self.read_segment(segment, low - segment.start_sample, high - segment.start_sample, places)
            for k, (column, place) in enumerate(pairs):
                channel = segment.channels[place]
                values = channel.physical(got[:, k]) if physical else got[:, k]
                if self.layered:
                    fill(out[rows, column], held[rows, column], values, present(got[:, k], channel.missing))
                else:
                    out[rows, column] = values
        return out

    def _within(
        self, segment: SegmentEntry, first: int, stop: int, labels: Sequence[str], physical: bool
    ) -> npt.NDArray[Any] | None:
        """Read a stretch that one segment holds whole; None where it does not, or lacks a channel."""
        at = segment.start_sample
        places = [segment.places.get(label, -1) for label in labels]
        if first < at or stop > segment.stop_sample or first >= stop or -1 in places or not places:
            return None
        got = self.read_segment(segment, first - at, stop - at, places)
        if not physical:
            return got
        if len(places) == 1:
            return segment.channels[places[0]].physical(got)
        out = np.empty((len(places), stop - first))
        for k, place in enumerate(places):
            out[k] = segment.channels[place].physical(got[:, k])
        return out.T

    def records(self, t0: When = None, t1: When = None, *, sound_only: bool = False) -> pa.Table:
        """Return the activations whose fiducial point lies in ``[t0, t1)``.

        Parameters
        ----------
        t0, t1 : int, float, Fraction, str or Time, optional
            As for :meth:`read`.
        sound_only : bool
            Leave out blocks that do not decode, instead of raising :class:`~sanstream.errors.CorruptError`.

        Returns
        -------
        pyarrow.Table
            Columns ``recording, stream, segment, block, window, kernel, kernel_uid, index`` (first tap,
            from the block's start), ``sample`` (first tap, on the stream's grid), ``fiducial_time_ns``
            (since 1970 when the recording has a start, else from its first sample) and ``amplitude``
            (one per channel of the segment), relative to the kernel: ``kernel_shapes(coding, bank, channel)``
            of ``sanstream.group_state`` gives each kernel in digital steps at amplitude 1 (FORMAT.md
            clause 7.4: taps * 2^shift / 2048), for :meth:`coding` and :meth:`bank` of the segment.
        """
        from sanstream.archive_records import read_records_table

        return read_records_table(self, self._manifest, *self.span(t0, t1), sound_only=sound_only)

    def to_xarray(self) -> Any:
        """Return a lazy ``xarray.DataArray`` (time, channel) of the integers.

        Returns
        -------
        xarray.DataArray, shape (n_samples, n_channels), int32
            Coordinates ``time`` in seconds from the start, ``channel``, ``unit``, ``gain``, ``baseline``.

        Raises
        ------
        InputError
            When xarray is not installed.
        """
        from sanstream.archive_xarray import lazy_array

        return lazy_array(self, self._manifest)

    def span(self, t0: When, t1: When) -> tuple[int, int]:
        """Turn two times into first sample and one past the last, cut at the stream's ends.

        Parameters
        ----------
        t0, t1 : int, float, Fraction, str or Time, optional
            As for :meth:`read`.

        Returns
        -------
        tuple of int

        Raises
        ------
        InputError
            When a number is negative, the first time is past the end, or the two are in the wrong order.
        """
        for when in (t0, t1):
            if isinstance(when, _NUMBERS) and when < 0:
                raise InputError(f"stream {self.name!r}: {when!r} is before its start", hint="count from 0")
        first = 0 if t0 is None else self._sample(t0)
        stop = self.n_samples if t1 is None else self._sample(t1)
        if first > stop and t0 is not None and t1 is not None:
            raise InputError(f"stream {self.name!r}: {t0!r} is after {t1!r}", hint="swap the two")
        if first > self.n_samples or (first == self.n_samples and self.n_samples > 0 and t0 is not None and t1 is None):
            raise InputError(
                f"stream {self.name!r}: {t0!r} is after its end, {self.n_samples} samples "
                f"or {float(self.n_samples / self.rate):g} s"
            )
        return max(0, first), max(0, min(stop, self.n_samples))

    def pick(self, channels: Sequence[str | int] | None) -> list[int]:
        """Turn labels and places into places in :attr:`channels`."""
        if channels is None:
            return list(range(len(self.channels)))
        labels = self.entry.places
        picked: list[int] = []
        for channel in [channels] if isinstance(channels, str | int) else channels:
            place = labels.get(channel) if isinstance(channel, str) else int(channel)
            if place is None or not -len(self.channels) <= place < len(self.channels):
                raise InputError(f"stream {self.name!r} has no channel {channel!r}", hint=f"it has {', '.join(labels)}")
            picked.append(place % len(self.channels))
        return picked

    def segments_between(self, first: int, stop: int) -> Iterator[SegmentEntry]:
        """Yield the segments with samples in ``[first, stop)``: by place, and after them those that came late.

        Parameters
        ----------
        first, stop : int
            Samples of the stream's grid.

        Yields
        ------
        SegmentEntry
        """
        for segment in self.entry.segments:
            if segment.start_sample < stop and first < segment.stop_sample:
                yield segment

    def state(self, first: int, stop: int) -> Hashable:
        """Return what is another when samples of ``[first, stop)`` may be others: who keeps what it read, compares it.

        Equal states of readers that were opened at different times mean equal samples; nothing is read for it.
        """
        return tuple(self._state(s, first, stop) for s in self.segments_between(first, stop))

    def _state(self, segment: SegmentEntry, first: int, stop: int) -> Hashable:
        # what a daemon has committed stays; else the same segment may have been encoded anew, at another quality
        crc = 0 if self._manifest.grows else segment.samples_crc
        held = min(stop, segment.stop_sample)
        return segment.coding.segment_id, segment.start_sample, held, segment.qualities, crc, segment.late

    def coding(self, segment: SegmentEntry) -> SegmentCoding:
        """Return a segment's coding, its bank delta included.

        Parameters
        ----------
        segment : SegmentEntry

        Returns
        -------
        SegmentCoding
        """
        if segment.name not in self._codings:
            self._codings[segment.name] = self._container.coding(self.name, segment)
        return self._codings[segment.name]

    def blocks(self, segment: SegmentEntry, first: int, stop: int) -> list[bytes]:
        """Return the payloads of a segment's blocks ``first`` to ``stop``."""
        payloads = self._container.blocks(self.name, segment, first, stop)
        if len(payloads) != stop - first:
            raise CorruptError(
                f"segment {segment.coding.segment_id}: {len(payloads)} blocks found, {stop - first} expected"
            )
        return payloads

    def bank(self, segment: SegmentEntry) -> Bank:
        """Return the bank of a segment.

        Parameters
        ----------
        segment : SegmentEntry

        Returns
        -------
        Bank

        Raises
        ------
        BankError
            When it is nowhere.
        """
        return self._find_bank(segment.coding.bank_base)

    def read_segment(
        self, segment: SegmentEntry, first: int, stop: int, channels: Sequence[int] | None = None
    ) -> IntSamples:
        """Decode samples ``first`` to ``stop`` of one segment.

        Returns
        -------
        ndarray, shape (stop - first, n_channels), int32
        """
        coding = self.coding(segment)
        bank = self.bank(segment)
        everything = channels is None or list(channels) == list(range(coding.n_channels))
        step = coding.block_samples
        if stop <= first:
            return np.empty((0, coding.n_channels if channels is None else len(channels)), np.int32)
        low, high = first // step, -(-stop // step)
        at = low * step
        got = decode_blocks(
            self.blocks(segment, low, high), low, coding, bank, None if everything else channels,
            need=stop - (high - 1) * step,
        )  # fmt: skip
        expected = min(high * step, segment.n_samples) - at
        if got.shape[1] != expected:
            raise CorruptError(
                f"segment {coding.segment_id}, blocks {low} to {high - 1}: {got.shape[1]} samples, {expected} expected"
            )
        return got[:, first - at : stop - at].T

    def _sample(self, when: int | float | str | Fraction | Time) -> int:
        if isinstance(when, str):
            when = parse_time(when, self._manifest.start_ns, self._manifest.timezone)
        if isinstance(when, Time):
            return when.to_sample(self.rate)
        if isinstance(when, int | np.integer):
            return int(when)
        # a float is meant to the nanosecond
        return math.ceil((when if isinstance(when, Fraction) else Fraction(round(when * 10**9), 10**9)) * self.rate)

    def _empty(self, n: int, wanted: Sequence[int], physical: bool) -> npt.NDArray[Any]:
        if physical:
            return np.full((len(wanted), n), np.nan).T  # a channel's samples side by side
        codes: dict[str, int] = {}
        for segment in self.entry.segments:
            for channel, code in zip(segment.channels, missing_codes(segment.coding), strict=True):
                codes.setdefault(channel.label, code)
        row = np.array([codes[self.channels[i].label] for i in wanted], dtype=np.int32)
        return np.repeat(row[:, None], n, axis=1).T
