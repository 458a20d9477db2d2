"""numba's njit as sanstream uses it: cached where a writable place exists, uncached with a warning where not."""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _sources_digest() -> str:
    """Hash of all loops: numba's own index does not notice a change in a called function's file."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("_loops_*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _choose_cache() -> bool:
    """Say whether compiled code can be cached, pointing numba at a place where it can."""
    if os.environ.get("NUMBA_DISABLE_JIT") == "1":
        return False
    named = os.environ.get("NUMBA_CACHE_DIR")
    home = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("HOME") and str(Path(os.environ["HOME"]) / ".cache"))
    places = [Path(named)] if named else [Path(__file__).parent / "__pycache__"]
    if home and not named:
        places.append(Path(home) / "sanstream")
    for place in places:
        folder = place / f"loops-{_sources_digest()}"
        if _writable(folder):
            setattr(numba.config, "CACHE_DIR", str(folder))  # noqa: B010 (the stubs do not know it)
            return True
    return False


_INTERPRETED = os.environ.get("NUMBA_DISABLE_JIT") == "1"
CACHE = _choose_cache()
if not CACHE and not _INTERPRETED:
    warnings.warn(
        "no writable place to cache compiled loops: every process compiles them anew; set NUMBA_CACHE_DIR",
        RuntimeWarning,
        stacklevel=2,
    )


def jit(function: Callable[..., Any]) -> Any:
    """Compile a loop that only other loops call: integers, no Python objects, no wrapper for Python.

    Division by zero gives 0 instead of an exception (loops never divide by zero); that alone saves a
    quarter of the compilation.
    """
    if _INTERPRETED:
        return function
    options: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return numba.njit(function, nogil=True, error_model="numpy", **options)


def lean(function: Callable[..., Any]) -> Any:
    """Compile a loop into each place that calls it, without counting references to arrays.

    For what runs once a sample: counting costs more than the work. Such a loop makes no arrays; callers pass them in.
    """
    if _INTERPRETED:
        return function
    options: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "forceinline": True, "_nrt": False}
    return numba.njit(function, nogil=True, error_model="numpy", **options)


def lean_apart(function: Callable[..., Any]) -> Any:
    """Compile as :func:`lean` does, but once: for longer loops that run seldom."""
    if _INTERPRETED:
        return function
    options: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "_nrt": False}
    return numba.njit(function, nogil=True, error_model="numpy", **options)


def lean_float(function: Callable[..., Any]) -> Any:
    """Compile as :func:`lean` does, sums of floats in any order: for the encoder's searches, never for decoding."""
    if _INTERPRETED:
        return function
    options: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "forceinline": True, "_nrt": False}
    return numba.njit(function, nogil=True, error_model="numpy", fastmath=True, **options)


def lean_entry(function: Callable[..., Any]) -> Any:
    """Compile a loop that Python calls and that calls :func:`lean` loops; makes no arrays either."""
    if _INTERPRETED:
        return function
    options: dict[str, Any] = {"_nrt": False}
    return numba.njit(function, cache=CACHE, nogil=True, error_model="numpy", **options)


def entry(function: Callable[..., Any]) -> Any:
    """Compile a loop that Python calls; releases the GIL, cached together with all that it calls."""
    if _INTERPRETED:
        return function
    return numba.njit(function, cache=CACHE, nogil=True, error_model="numpy")
