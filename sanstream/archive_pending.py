"""What a commit to a growing archive leaves while it is under way: objects that the manifest does not name yet."""

from __future__ import annotations

import json
import re
from dataclasses import replace

from sanstream.archive_manifest import Manifest
from sanstream.archive_objects import Objects
from sanstream.archive_zarr import META, array_meta

_OWN = re.compile(
    r"zarr\.json|[^/]+/zarr\.json|[^/]+/[^/]+/(zarr\.json|c/[0-9]+/0)|annotations/events/[0-9]{8}\.parquet"
)


def is_growing_key(key: str) -> bool:
    """Tell whether an object, by its key below a recording's folder, is of a kind that commits write."""
    return _OWN.fullmatch(key) is not None


def is_ahead(objects: Objects, manifest: Manifest, path: str) -> bool:
    """Tell whether an object is the metadata of an array that is longer than the manifest says, and else the same.

    A commit replaces it before the manifest. It does no harm: the manifest holds all that a reader needs, and the
    shards up to its length are there.

    Parameters
    ----------
    objects : Objects
    manifest : Manifest
    path : str
        Below the archive's folder.
    """
    for stream in manifest.streams:
        for entry in stream.segments:
            if path == f"{manifest.name}/{stream.name}/{entry.name}/{META}" and objects.exists(path):
                data = objects.read(path)
                try:
                    n_samples = json.loads(data)["shape"][0]
                except (ValueError, LookupError, TypeError):
                    return False
                longer = isinstance(n_samples, int) and n_samples > entry.n_samples
                return longer and data == array_meta(replace(entry, n_samples=n_samples))
    return False
