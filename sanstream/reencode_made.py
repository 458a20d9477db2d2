"""A recording of the new archive: what it is made of, where it came from, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import sanstream
from sanstream.archive import RecordingReader
from sanstream.archive_manifest import Manifest
from sanstream.reencode_jobs import Work
from sanstream.reencode_request import DEFAULT_EFFORT, Request
from sanstream.reencode_targets import Target


@dataclass
class Made:
    """One recording of the new archive."""

    reader: RecordingReader
    shift: Fraction
    targets: dict[str, list[Target]]
    id: str
    works: dict[tuple[str, int], Work] = field(default_factory=dict)

    def all(self) -> list[Target]:
        """Every segment."""
        return [t for targets in self.targets.values() for t in targets]


def parent_of(one: Made, request: Request) -> dict[str, Any]:
    """Return what the manifest says of the origin; assembling takes effort and bank back where nothing has either."""
    earlier = one.reader.manifest.parent
    return {
        "manifest": one.reader.manifest.digest,
        "sanstream": sanstream.__version__,
        **request.to_dict(),
        "effort": request.effort or DEFAULT_EFFORT,
        "id": one.id,
        **({"parent": dict(earlier)} if earlier else {}),
    }


def summary_of(manifests: Sequence[Manifest], made: Sequence[Made], request: Request, already: bool) -> dict[str, Any]:
    """Return what :func:`sanstream.reencode` gives."""
    segments = [g for m in manifests for s in m.streams for g in s.segments]
    targets = [t for one in made for t in one.all()]
    held = {(one.reader.name, g.coding.segment_id) for one in made for t in one.all() for g in [t.pieces[0].entry]}
    moved = sum((m.name, g.coding.segment_id) in held for m in manifests for s in m.streams for g in s.segments)
    planned = [t for t in targets if t.moved]
    lossy = [t for t in planned if t.n_samples and (request.effort or request.bank)]
    return {
        "recordings": [m.name for m in manifests],
        "coded_bytes": sum(g.coded_bytes for g in segments),
        "n_samples": sum(g.n_samples * g.coding.n_channels for g in segments),
        "segments": {"encoded": len(targets) - moved, "moved": moved},
        "carried": {"lossy": len(lossy), "no_smaller": moved - len(planned)},
        "already": already,
    }
