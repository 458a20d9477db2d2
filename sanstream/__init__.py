"""Archives of biosignals: sparse activations plus a residual that keeps a stated bound.

Names load on first use (PEP 562), so that ``sanstream --help`` and the Zarr plug-in start fast.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sanstream.archive import Archive, open
    from sanstream.errors import SanstreamError
    from sanstream.evaluate import evaluate
    from sanstream.signal import Annotations, Channel, Recording, Segment, Stream
    from sanstream.transfer import archive, restore

__version__ = "0.1.0"

__all__ = [
    "Annotations",
    "Archive",
    "Channel",
    "Recording",
    "SanstreamError",
    "Segment",
    "Stream",
    "__version__",
    "archive",
    "evaluate",
    "open",
    "restore",
]

_HOME = {
    "Annotations": "signal",
    "Archive": "archive",
    "Channel": "signal",
    "Recording": "signal",
    "SanstreamError": "errors",
    "Segment": "signal",
    "Stream": "signal",
    "archive": "transfer",
    "evaluate": "evaluate",
    "open": "archive",
    "restore": "transfer",
}


class _Package(ModuleType):
    """Keeps ``sanstream.archive`` the verb: importing the file of that name would overwrite it."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sanstream' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"sanstream.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
