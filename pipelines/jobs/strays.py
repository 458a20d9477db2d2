"""What killed writers left in an object store: objects that no manifest names, for a day or longer.

Usage: python -m pipelines.jobs.strays s3://BUCKET/ARCHIVE [--remove] [--older-than 24h] [--json]

A running daemon is safe: what it puts is young by the store's own clock, and after an outage it puts everything again
before it names it. Whole recordings that are being archived have a claim, under which nothing is a stray. Before
anything goes, listing and manifests are read once more.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from typing import Any

import click

from sanstream.archive_claim import CLAIM, STALE_S
from sanstream.archive_manifest import CATALOG, LIVE, MANIFEST, Manifest
from sanstream.archive_store import RemoteObjects, remote_scheme
from sanstream.cli.exits import main
from sanstream.cli.output import json_option, print_json, print_table
from sanstream.config_values import read_duration
from sanstream.errors import CorruptError, InputError

LEAST_S = 86_400.0
"""Nothing younger is ever a stray."""
_FIXED = (CATALOG, LIVE, "zarr.json")


def find_strays(
    objects: RemoteObjects, *, older_than_s: float = LEAST_S, clock: Callable[[], float] = time.time
) -> dict[str, int]:
    """List the strays of an archive, and their bytes.

    Parameters
    ----------
    objects : RemoteObjects
    older_than_s : float
        At least a day.
    clock : callable
        Seconds since 1970, by the store's clock.

    Returns
    -------
    dict of str to int

    Raises
    ------
    InputError
        When a younger age is asked for, no archive stands there, or whole recordings are being archived.
    CorruptError
        When a manifest cannot be read: what it names is not known then.
    """
    if older_than_s < LEAST_S:
        raise InputError("strays younger than a day may be a running writer's", hint="ask for 24h or more")
    if not objects.exists(CATALOG):
        raise InputError(f"{objects}: no archive stands here, {CATALOG} is missing", hint="check the address")
    until = clock() - older_than_s
    # the listing first: what is named between the two is known, what is put is not listed
    listed = {key: (size, at) for key, size, at in objects.written()}
    old = {k: size for k, (size, at) in listed.items() if at < until and not _is_kept(k)}
    if old:
        _refuse_while_archiving(objects, clock)
    return {k: size for k, size in old.items() if k not in _named(objects, listed)}


def remove_strays(objects: RemoteObjects, found: Iterable[str], **more: Any) -> dict[str, int]:
    """Remove those of ``found`` that are strays still; returns them."""
    again = find_strays(objects, **more)
    gone = {key: again[key] for key in found if key in again}
    objects.remove(gone)
    return gone


def _is_kept(key: str) -> bool:
    """Tell whether a writer may name it later without putting it again: banks, and parts of events."""
    return key in _FIXED or key.startswith("banks/") or "/annotations/" in key


def _named(objects: RemoteObjects, listed: Iterable[str]) -> frozenset[str]:
    keys: set[str] = set()
    for key in listed:
        name, _, rest = key.partition("/")
        if rest == MANIFEST:
            manifest = Manifest.from_bytes(objects.read(key), key)
            keys |= {key, *(f"{name}/{own}" for own in manifest.objects)}
    return frozenset(keys)


def _refuse_while_archiving(objects: RemoteObjects, clock: Callable[[], float]) -> None:
    try:
        renewed_s = float(json.loads(objects.read(CLAIM))["renewed_s"])
    except CorruptError:
        return
    except (ValueError, LookupError, TypeError):
        renewed_s = clock()  # who knows
    if clock() - renewed_s < STALE_S:
        raise InputError(
            f"{objects}: recordings are being archived there, and their objects have no manifest yet",
            hint="try again when that is done",
        )


@click.command()
@click.argument("archive")
@click.option("--remove", is_flag=True, help="Remove them.")
@click.option("--older-than", default="24h", show_default=True, help="Age by the store's clock; a day at least.")
@json_option
def strays(archive: str, remove: bool, older_than: str, as_json: bool) -> None:
    """List objects that no manifest names, and remove them where asked."""
    if not remote_scheme(archive):
        raise InputError(
            f"{archive}: in a folder, the next writer removes what a killed one left", hint="name s3://..."
        )
    objects, age = RemoteObjects(archive), read_duration(older_than)
    found = find_strays(objects, older_than_s=age)
    if remove:
        found = remove_strays(objects, found, older_than_s=age)
    if as_json:
        print_json({"archive": archive, "removed": remove, "strays": found, "n_bytes": sum(found.values())})
        return
    print_table(("object", "bytes"), [[key, size] for key, size in found.items()])
    click.echo(f"{len(found)} strays, {sum(found.values()):,} bytes{', removed' if remove else ''}", err=True)


if __name__ == "__main__":
    main(strays, "python -m pipelines.jobs.strays")
