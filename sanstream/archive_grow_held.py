"""Manifests of growing recordings, kept in memory while they are small."""

from __future__ import annotations

import threading

from sanstream.archive_manifest import Manifest

_HELD_OBJECTS = 50_000
"""Objects that the manifests kept may name: some 20 MiB."""


class HeldManifests:
    """The manifests used last, by recording; threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, Manifest] = {}
        self._n_objects = 0

    def get(self, recording: str) -> Manifest | None:
        """Return a manifest that is kept."""
        return self._held.get(recording)

    def put(self, manifest: Manifest) -> None:
        """Keep a manifest in place of its former self; those used longest ago go when there are too many."""
        self.pop(manifest.name)
        with self._lock:
            self._held[manifest.name] = manifest
            self._n_objects += len(manifest.objects)
            while self._n_objects > _HELD_OBJECTS and len(self._held) > 1:
                oldest = self._held.pop(next(iter(self._held)))
                self._n_objects -= len(oldest.objects)

    def pop(self, recording: str) -> Manifest | None:
        """Return a manifest and keep it no longer."""
        with self._lock:
            held = self._held.pop(recording, None)
            if held is not None:
                self._n_objects -= len(held.objects)
            return held
