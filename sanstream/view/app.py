"""The page and the questions it asks, as a web application; who may ask is the guard's matter."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sanstream import __version__
from sanstream.archive_manifest import RAW
from sanstream.errors import CorruptError, InputError, SanstreamError
from sanstream.http_guard import PRIVATE
from sanstream.modality import modality_of
from sanstream.view.envelopes import Envelope, Envelopes
from sanstream.view.figures import WindowsOverTime, to_json
from sanstream.view.kernels import activations_of, gallery, has_kernels
from sanstream.view.library import MOST_NAMES, Library
from sanstream.view.marks import marks_of, next_mark
from sanstream.view.sources import DECODED, KERNELS, RESIDUAL, Decoded, layer_of

PAGE = {
    "index.html": "text/html",
    "app.js": "text/javascript",
    "plot.js": "text/javascript",
    "style.css": "text/css",
    "uPlot.iife.min.js": "text/javascript",
    "uPlot.min.css": "text/css",
    "uPlot.LICENSE.txt": "text/plain",
    "icon.svg": "image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_NEAR_VALUES = 1 << 21
"""Samples of layers that are made of activations, in one answer: they are summed anew each time."""
Answer = Callable[[Request], Any]


class Viewer:
    """Answers what the page asks about one library.

    Parameters
    ----------
    library : Library
    state_dir : Path or None
        State folder of the daemon that writes the archive: alarms and decisions about kernels.
    """

    def __init__(self, library: Library, *, state_dir: Path | None = None) -> None:
        self._library, self._state = library, state_dir
        self._envelopes, self._windows = Envelopes(), WindowsOverTime()

    def prepare(self) -> None:
        """Answer about a little of the first recording: in a fresh installation the loops are compiled meanwhile."""
        with suppress(SanstreamError, OSError, StopIteration):
            name = self._library.names(limit=1)["names"][0:1]
            reader = next(iter(self._library.recording(name[0]).streams.values())) if name else None
            if reader is None:
                return
            first = min((s.start_sample for s in reader.entry.segments), default=0)
            stop = min(reader.n_samples, first + max(1, Decoded(reader).block_samples // 4))
            own = (name[0], reader.name)
            self._envelopes.draw((*own, DECODED), Decoded(reader), first, stop, 100, range(len(reader.channels)))
            self._windows.over(own, reader, first, stop, 1)
            activations_of(reader, first, stop)

    def about(self, _: Request) -> Any:
        """Say what is looked at."""
        return {"version": __version__, "live": self._library.is_live(), "container": self._library.archive().container}

    def recordings(self, request: Request) -> Any:
        """List names."""
        start, limit = _whole(request, "start", 0), _whole(request, "limit", MOST_NAMES)
        return self._library.names(find=request.query_params.get("find", ""), start=start, limit=min(limit, MOST_NAMES))

    def recording(self, request: Request) -> Any:
        """Describe a recording and its streams."""
        name = _text(request, "recording")
        reader = self._library.recording(name)
        streams = []
        for stream in reader.streams.values():
            segments = stream.entry.segments
            channels = [
                {"label": c.label, "unit": c.unit, "kind": c.kind, "gain": c.gain, "modality": modality_of(c)}
                for c in stream.channels
            ]
            streams.append({
                "name": stream.name, "rate_hz": float(stream.rate), "n_samples": stream.n_samples,
                "first": min((s.start_sample for s in segments), default=0), "channels": channels,
                "quality": _qualities(stream), "original": self._library.original(name, stream.name) is not None,
                "kernels": has_kernels(stream),
            })  # fmt: skip
        return {
            "name": reader.name, "start_ns": None if reader.start_ns is None else str(reader.start_ns),
            "timezone": reader.timezone, "source_format": reader.source_format, "streams": streams,
            "live": self._library.is_live() and reader.manifest.grows,
        }  # fmt: skip

    def samples(self, request: Request) -> Any:
        """Draw a stretch of one layer."""
        recording, stream = _text(request, "recording"), _text(request, "stream")
        _, reader = self._library.stream(recording, stream)
        layer = request.query_params.get("layer", DECODED)
        source = layer_of(layer, reader, self._library.original(recording, stream))
        first, stop = _stretch(request, reader.n_samples)
        channels = _channels(request, len(reader.channels))
        if layer in (KERNELS, RESIDUAL) and (stop - first) * len(channels) > _NEAR_VALUES:
            raise InputError("this layer is drawn for shorter stretches", hint="zoom in")
        if layer in (KERNELS, RESIDUAL):
            drawn = self._envelopes.anew(source, first, stop, _whole(request, "width", 1000), channels)
        else:
            key = (recording, stream, layer)
            drawn = self._envelopes.draw(key, source, first, stop, _whole(request, "width", 1000), channels)
        return Response(packed(drawn, channels, reader.n_samples), media_type="application/octet-stream")

    def figures(self, request: Request) -> Any:
        """Give the figures of a stretch's windows."""
        recording, stream = _text(request, "recording"), _text(request, "stream")
        _, reader = self._library.stream(recording, stream)
        first, stop = _stretch(request, reader.n_samples)
        width = min(2000, max(1, _whole(request, "width", 500)))
        return to_json(self._windows.over((recording, stream), reader, first, stop, width))

    def activations(self, request: Request) -> Any:
        """Give the activations of a stretch."""
        _, reader = self._library.stream(_text(request, "recording"), _text(request, "stream"))
        return activations_of(reader, *_stretch(request, reader.n_samples))

    def kernels(self, request: Request) -> Any:
        """Give the kernels of the segments in a stretch."""
        _, reader = self._library.stream(_text(request, "recording"), _text(request, "stream"))
        return gallery(reader, *_stretch(request, reader.n_samples))

    def marks(self, request: Request) -> Any:
        """Give events, gaps, segments, alarms and decisions of a stretch."""
        own, reader = self._library.stream(_text(request, "recording"), _text(request, "stream"))
        return marks_of(own, reader, *_stretch(request, reader.n_samples), self._state)

    def next(self, request: Request) -> Any:
        """Find the mark that follows a time, or stands before it, however far."""
        own, reader = self._library.stream(_text(request, "recording"), _text(request, "stream"))
        back = request.query_params.get("back", "") == "1"
        return {"at_s": next_mark(own, reader, _number(request, "at", 0.0), self._state, back=back)}

    def routes(self) -> list[Route]:
        """Return the page's files and the questions."""
        asked = ("about", "recordings", "recording", "samples", "figures", "activations", "kernels", "marks", "next")
        out = [Route(f"/api/{name}", self._answering(getattr(self, name))) for name in asked]
        out += [Route(f"/{name}", _file(name)) for name in PAGE]
        return [*out, Route("/", _file("index.html"))]

    def _answering(self, answer: Answer) -> Callable[[Request], Response]:
        def respond(request: Request) -> Response:  # no coroutine: starlette runs it in a thread of its own
            try:
                with self._library.lock:
                    found = answer(request)
            except CorruptError as error:
                return _refused(422, error)
            except InputError as error:
                return _refused(404 if "holds no" in error.message else 400, error)
            except SanstreamError as error:
                return _refused(500, error)
            except OSError as error:
                return _refused(
                    503, InputError(f"the archive cannot be read: {error.strerror or type(error).__name__}")
                )
            made = found if isinstance(found, Response) else JSONResponse(found)
            made.headers.update(PRIVATE)
            return made

        return respond


def make_viewer(library: Library, *, state_dir: Path | None = None, prepared: bool = False) -> Starlette:
    """Make the application that serves the page.

    Parameters
    ----------
    library : Library
    state_dir : Path or None
    prepared : bool
        Load, or compile, the loops now rather than while the first page waits.
    """
    viewer = Viewer(library, state_dir=state_dir)
    if prepared:
        viewer.prepare()
    return Starlette(routes=viewer.routes())


def packed(drawn: Envelope, channels: list[int], n_samples: int) -> bytes:
    """Pack a drawing: length of a JSON head (uint32, little-endian), the head, then low and high as float32.

    The head is padded with spaces, so that the numbers begin at a multiple of four bytes. Of single samples ``high``
    is left out.
    """
    head = {
        "first": drawn.first, "step": drawn.step, "n": int(drawn.low.shape[1]), "channels": channels,
        "complete": drawn.complete, "bad": [[a, b, why] for a, b, why in drawn.bad], "n_samples": n_samples,
    }  # fmt: skip
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 4)
    arrays = [drawn.low] if drawn.step == 1 else [drawn.low, drawn.high]
    return struct.pack("<I", len(text)) + text + b"".join(np.ascontiguousarray(a, "<f4").tobytes() for a in arrays)


def _qualities(stream: Any) -> list[str]:
    """Return what the newest coded segment promises, by channel of the stream."""
    coded = [s for s in stream.entry.segments if RAW not in s.flags]
    found = {c.label: q for s in coded for c, q in zip(s.channels, s.qualities, strict=True)}
    return [found.get(c.label, "") for c in stream.channels]


def _refused(status: int, error: SanstreamError) -> Response:
    return JSONResponse({"error": error.message, "hint": error.hint or ""}, status, PRIVATE)


def _text(request: Request, name: str) -> str:
    value = request.query_params.get(name, "")
    if not value:
        raise InputError(f"{name} is missing", hint=f"ask with ?{name}=...")
    return value


def _number(request: Request, name: str, default: float) -> float:
    try:
        value = float(request.query_params.get(name, default))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{name} is no number", hint="give seconds or a count")
    return value


def _whole(request: Request, name: str, default: int) -> int:
    return max(0, min(1 << 53, round(_number(request, name, default))))


def _stretch(request: Request, n_samples: int) -> tuple[int, int]:
    """Return the samples asked for, cut at the stream's ends."""
    first, stop = _whole(request, "from", 0), _whole(request, "to", n_samples)
    return min(first, n_samples), max(min(first, n_samples), min(stop, n_samples))


def _channels(request: Request, n: int) -> list[int]:
    text = request.query_params.get("channels", "")
    try:
        places = [int(c) for c in text.split(",")] if text else list(range(n))
    except ValueError:
        places = [-1]
    if not all(0 <= c < n for c in places) or len(places) > n:
        raise InputError("channels are none of the stream's", hint=f"give places from 0 to {n - 1}, by commas")
    return places


def _file(name: str) -> Callable[[Request], Response]:
    data = resources.files("sanstream.view").joinpath("page", name).read_bytes()
    headers = {**PRIVATE, "Cache-Control": "no-cache", "Content-Security-Policy": POLICY}

    def serve(_: Request) -> Response:
        return Response(data, media_type=PAGE[name], headers=headers)

    return serve
