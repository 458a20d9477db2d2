"""LSL for tests: this machine only, and a session id that no other LSL program has."""

from __future__ import annotations

import os
import tempfile
import uuid
from pathlib import Path

import pytest


def private_network() -> None:
    """Point liblsl at a configuration of its own; must be called before its first use in this process."""
    if "LSLAPICFG" in os.environ:
        return
    folder = Path(tempfile.mkdtemp(prefix="sanstream-lsl-"))
    (folder / "lsl_api.cfg").write_text(
        "[log]\nlevel = -3\n[multicast]\nResolveScope = machine\n"
        f"[lab]\nKnownPeers = {{127.0.0.1}}\nSessionID = test-{uuid.uuid4().hex}\n"
    )
    os.environ["LSLAPICFG"] = str(folder / "lsl_api.cfg")


def need_lsl() -> None:
    """Skip where pylsl is not installed, but fail in CI."""
    private_network()
    if os.environ.get("CI") == "true":
        import pylsl
    else:
        pylsl = pytest.importorskip("pylsl")
    assert pylsl.library_version() >= 116
