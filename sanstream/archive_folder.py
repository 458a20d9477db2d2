"""The folder of one recording while it is written: segments, annotations, banks, and the manifest last."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from fractions import Fraction
from types import TracebackType
from typing import Any, Self

from sanstream.archive_annotations import pack_annotations
from sanstream.archive_draft import Draft
from sanstream.archive_manifest import MANIFEST, Manifest, SegmentEntry, StreamEntry
from sanstream.archive_parquet import BLOCKS, ParquetWriter
from sanstream.archive_zarr import ZarrWriter
from sanstream.bank import Bank
from sanstream.signal import Annotations


class RecordingFolder:
    """Writes one recording in either container.

    Parameters
    ----------
    draft : Draft
        Where its objects and its banks go.
    head : Manifest
        What is known before: name, start, attributes and container; no streams and objects yet.
    self_contained : bool
        Put whole banks into the arrays' metadata (Zarr only).
    """

    def __init__(self, draft: Draft, head: Manifest, *, self_contained: bool = False) -> None:
        self._draft = draft
        self._head = head
        self._objects: dict[str, tuple[int, str]] = {}
        self._banks: dict[str, int] = {}
        self._writer: ZarrWriter | ParquetWriter
        if head.container == "zarr":
            self._writer = ZarrWriter(self._put, self_contained=self_contained, keeps_delta=not draft.is_remote)
        else:
            self._writer = ParquetWriter(draft.path(f"{head.name}/{BLOCKS}"), head)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def add_segment(
        self, stream: str, rate: Fraction, entry: SegmentEntry, bank: Bank, blocks: Iterable[bytes]
    ) -> SegmentEntry:
        """Write a segment's blocks, in order, and keep its bank.

        Returns
        -------
        SegmentEntry
            With ``coded_bytes``, and ``has_delta`` as the container keeps it.
        """
        self._keep_bank(bank)
        coded = self._writer.add_segment(stream, rate, entry, bank, blocks)
        apart = self._writer.keeps_delta and bool(entry.coding.bank_delta)
        return replace(entry, coded_bytes=coded, has_delta=apart)

    def finish(
        self,
        streams: tuple[StreamEntry, ...],
        annotations: tuple[Annotations, ...],
        *,
        parent: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """Write the rest; the manifest last.

        Parameters
        ----------
        streams : tuple of StreamEntry
        annotations : tuple of Annotations
        parent : mapping, optional
            In place of the one that ``head`` has.

        Returns
        -------
        Manifest
        """
        if parent is not None:
            self._head = replace(self._head, parent=parent)
        self._writer.finish(self._head, streams)
        if isinstance(self._writer, ParquetWriter):
            self._objects[BLOCKS] = self._draft.adopt(f"{self._head.name}/{BLOCKS}")
        rates = tuple(s.rate for s in streams)
        for events in annotations:
            self._put(f"annotations/{events.name}.parquet", pack_annotations(events, rates))
        names = tuple(a.name for a in annotations)
        manifest = replace(self._head, streams=streams, annotations=names, objects=self._objects, banks=self._banks)
        self._draft.put(f"{manifest.name}/{MANIFEST}", manifest.to_bytes())
        return manifest

    def _keep_bank(self, bank: Bank) -> None:
        key = f"banks/{bank.id}.sanbank"
        if not self._draft.has(key):
            self._draft.put(key, bank.data)
        self._banks[bank.id] = len(bank.data)

    def _put(self, key: str, data: bytes) -> None:
        self._draft.put(f"{self._head.name}/{key}", data)
        self._objects[key] = (len(data), hashlib.sha256(data).hexdigest())
