"""What an archive holds and weighs, as the JSON of ``sanstream info``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sanstream.archive_manifest import CATALOG, FIGURES, Manifest, SegmentEntry, StreamEntry
from sanstream.archive_objects import Objects
from sanstream.archive_parquet import BLOCKS
from sanstream.archive_sealed import FORMAT_VERSION


def describe(
    objects: Objects, container: str, manifests: Iterable[Manifest], sizes: Mapping[str, int]
) -> dict[str, Any]:
    """Return the JSON of ``sanstream info``; ``sizes`` has each manifest's bytes by its recording's name.

    ``coded_bytes`` counts blocks, tables, checksums and adapted bank deltas; ``stored_bytes`` everything.
    """
    held = list(manifests)
    recordings = [_recording(m) for m in held]
    return {
        "format_version": FORMAT_VERSION,
        "container": container,
        "coded_bytes": sum(s["coded_bytes"] for r in recordings for s in r["streams"]),
        "stored_bytes": _stored(objects, container, held, sizes),
        "recordings": recordings,
    }


def _recording(manifest: Manifest) -> dict[str, Any]:
    found = {"name": manifest.name, "start_ns": manifest.start_ns, "streams": [_stream(s) for s in manifest.streams]}
    return found | ({"parent": dict(manifest.parent)} if manifest.parent else {})


def _stream(stream: StreamEntry) -> dict[str, Any]:
    coded = sum(g.coded_bytes for g in stream.segments)
    samples = sum(g.n_samples * g.coding.n_channels for g in stream.segments)
    return {
        "name": stream.name,
        "rate_hz": float(stream.rate),
        "n_samples": stream.n_samples,
        "coded_bytes": coded,
        "bits_per_sample": 8 * coded / samples if samples else 0.0,
        "channels": _channels(stream),
        "segments": [
            {"bank": g.coding.bank_base, "n_blocks": g.n_blocks, "n_windows": g.n_windows}
            | ({"flags": list(g.flags)} if g.flags else {})
            for g in stream.segments
        ],
    }


def _channels(stream: StreamEntry) -> list[dict[str, Any]]:
    found: dict[str, list[tuple[SegmentEntry, int]]] = {}
    for segment in stream.segments:
        for place, channel in enumerate(segment.channels):
            found.setdefault(channel.label, []).append((segment, place))
    rows = []
    for label, held in found.items():
        segment, place = held[0]
        channel = segment.channels[place]
        rows.append(
            {
                "name": label,
                "unit": channel.unit,
                "gain": channel.gain,
                "baseline": channel.baseline,
                "quality": segment.qualities[place],
                "reached": _reached(held),
            }
            | _original(held)
        )
    return rows


def _original(held: list[tuple[SegmentEntry, int]]) -> dict[str, Any]:
    """Join what holds against the samples before the first loss, where segments say so."""
    rows = [g.original[i] for g, i in held if g.original]
    if not rows:
        return {}
    ratios = [r[0] for r in rows]
    prdn = None if None in ratios else max(r for r in ratios if r is not None)
    return {"original": {"prdn": prdn, "rmse_adu": max(r[1] for r in rows), "max_error_adu": max(r[2] for r in rows)}}


def _reached(held: list[tuple[SegmentEntry, int]]) -> dict[str, float]:
    """Join the figures of one channel's segments: means by windows, RMSE by samples, greatest values."""
    rows = [(dict(zip(FIGURES, g.reached[i], strict=True)), g.n_windows, g.n_samples) for g, i in held]
    windows, samples = sum(r[1] for r in rows) or 1, sum(r[2] for r in rows) or 1
    return {
        "prdn_mean": sum(f["prdn_mean"] * w for f, w, _ in rows) / windows,
        "prdn_max": max(f["prdn_max"] for f, _, _ in rows),
        "rmse_adu": (sum(f["rmse_adu"] ** 2 * n for f, _, n in rows) / samples) ** 0.5,
        "max_error_adu": max(f["max_error_adu"] for f, _, _ in rows),
        "phi_mean": sum(f["phi_mean"] * w for f, w, _ in rows) / windows,
    }


def _stored(
    objects: Objects, container: str, manifests: list[Manifest], of_manifests: Mapping[str, int]
) -> dict[str, int]:
    sizes = {"signal": 0, "bank": 0, "metadata": objects.size(CATALOG), "annotations": 0}
    if container == "zarr":
        sizes["metadata"] += objects.size("zarr.json")
    for manifest in manifests:
        sizes["metadata"] += of_manifests[manifest.name]
        for key, (size, _) in manifest.objects.items():
            sizes[_share(key)] += size
    banks = {bank: size for m in manifests for bank, size in m.banks.items()}
    sizes["bank"] = sum(banks.values())
    return {"total": sum(sizes.values()), **sizes}


def _share(key: str) -> str:
    if key.startswith("annotations/"):
        return "annotations"
    return "metadata" if key.endswith("zarr.json") and key != BLOCKS else "signal"
