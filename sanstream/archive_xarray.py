"""A stream as a lazy xarray.DataArray: samples are decoded when they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sanstream.archive_manifest import Manifest
from sanstream.errors import InputError

if TYPE_CHECKING:
    from sanstream.archive_read import StreamReader


def lazy_array(reader: StreamReader, manifest: Manifest) -> Any:
    """Return a DataArray of axes (time, channel), int32, backed by the archive.

    Coordinates are ``time`` (seconds from the start), ``channel`` (labels), ``unit``, ``gain`` and
    ``baseline``; ``physical = (digital - baseline) / gain``.

    Raises
    ------
    InputError
        When xarray is not installed.
    """
    try:
        import xarray
        from xarray.backends import BackendArray
        from xarray.core import indexing
    except ImportError as error:
        raise InputError("to_xarray needs xarray", hint="pip install 'sanstream[xarray]'") from error

    class Samples(BackendArray):
        shape = (reader.n_samples, len(reader.channels))
        dtype = np.dtype(np.int32)

        def __getitem__(self, key: Any) -> npt.NDArray[Any]:
            support = indexing.IndexingSupport.OUTER
            return np.asarray(indexing.explicit_indexing_adapter(key, self.shape, support, self._read))

        def _read(self, key: tuple[Any, ...]) -> npt.NDArray[Any]:
            return read_outer(reader, key)

    data = indexing.LazilyIndexedArray(Samples())
    channels = reader.channels
    coordinates = {
        "time": ("time", np.arange(reader.n_samples) * float(1 / reader.rate), {"units": "s"}),
        "channel": ("channel", [c.label for c in channels]),
        "unit": ("channel", [c.unit for c in channels]),
        "gain": ("channel", [c.gain for c in channels]),
        "baseline": ("channel", [c.baseline for c in channels]),
    }
    attributes = {"rate_hz": float(reader.rate), "recording": manifest.name, "timezone": manifest.timezone}
    if manifest.start_ns is not None:
        attributes["start_ns"] = manifest.start_ns
    return xarray.DataArray(
        xarray.Variable(("time", "channel"), data), coords=coordinates, name=reader.name, attrs=attributes
    )


def read_outer(reader: StreamReader, key: tuple[Any, ...]) -> npt.NDArray[Any]:
    """Read what an outer selection (ints, slices, 1-D arrays) along time and channel asks for.

    Parameters
    ----------
    reader : StreamReader
    key : tuple of two selections

    Returns
    -------
    ndarray
        With numpy's outer-indexing shape.
    """
    times, channels = key
    places = np.arange(len(reader.channels))[channels]
    indices = np.arange(reader.n_samples)[times] if not isinstance(times, slice) else None
    if indices is None:
        span = range(*times.indices(reader.n_samples))
        low, high = (min(span[0], span[-1]), max(span[0], span[-1]) + 1) if span else (0, 0)
        pick: Any = [i - low for i in span] if span.step != 1 else slice(None)
    else:
        flat = np.ravel(indices)
        low, high = (int(flat.min()), int(flat.max()) + 1) if len(flat) else (0, 0)
        pick = indices - low
    got = reader.read(low, high, [int(p) for p in np.ravel(places)])[pick]
    return np.asarray(got[..., 0]) if np.ndim(places) == 0 else np.asarray(got)
