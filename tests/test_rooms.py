"""The order of rooms (docs/design/001-rooms.md) is kept by every file."""

from __future__ import annotations

import ast
import gc
import subprocess
import sys
from pathlib import Path

import pytest

import sanstream

ROOT = Path(sanstream.__file__).parent
ORDER = (
    "errors times signal modality chunk wire quality bank block group decode san encode shard zarr_codec durable log "
    "journal ledger archive formats mne wfdb transfer simulate evaluate serves report train feeds publish drift "
    "reservoir retrain reencode config telemetry http view daemon plot demo cli"
).split()
WITHOUT_TORCH = (
    "errors times signal modality chunk wire quality bank block group decode shard zarr_codec durable log journal "
    "ledger archive formats feeds publish config telemetry"
).split()
FILES = sorted(p for p in ROOT.rglob("*.py") if p.name not in ("__main__.py",) and p != ROOT / "__init__.py")


def room(path: Path) -> str:
    """``archive_zarr.py`` and ``formats/edf.py`` belong to the rooms ``archive`` and ``formats``."""
    return room_of(path.relative_to(ROOT).with_suffix("").parts[0])


def room_of(name: str) -> str:
    if name.startswith("_"):
        return name
    fits = [r for r in ORDER if name == r or name.startswith(r + "_")]
    assert fits, f"{name} belongs to no room; add it to ORDER and to docs/design"
    return max(fits, key=len)


def imported(path: Path) -> list[str]:
    """Absolute names of every module that a file imports anywhere, also inside functions."""
    names: list[str] = []
    gc.disable()  # what it calls meanwhile makes Python 3.11's parser lose count, now and then
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    finally:
        gc.enable()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively; write the whole name"
            names += (
                [f"{node.module}.{a.name}" for a in node.names] if node.module == "sanstream" else [str(node.module)]
            )
    return names


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_file_imports_only_from_rooms_before_it(path: Path) -> None:
    own = room(path)
    for module in imported(path):
        if not module.startswith("sanstream."):
            continue
        other = room_of(module.split(".")[1])
        if own.startswith("_"):
            assert other.startswith("_") or other == "errors", f"{name(path)} is private and imports {module}"
        elif not other.startswith("_"):
            assert ORDER.index(other) <= ORDER.index(own), f"{name(path)} ({own}) imports {module}"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_only_the_right_rooms_know_torch_and_click(path: Path) -> None:
    tops = {module.split(".")[0] for module in imported(path)}
    own = room(path)
    if own in WITHOUT_TORCH or own.startswith("_"):
        assert "torch" not in tops
    if own != "cli":
        assert "click" not in tops
    if own not in ("telemetry", "daemon", "cli"):
        assert "prometheus_client" not in tops
    assert "pipelines" not in tops
    if own.startswith("_loops"):
        assert tops <= {"__future__", "collections", "math", "numpy", "numba", "sanstream", "typing"}


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_file_is_one_idea(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350, "split the file along its ideas"
    assert path.stem not in ("utils", "helpers", "base", "manager", "common")


def test_rooms_without_torch_do_not_load_it() -> None:
    files = [p.relative_to(ROOT).with_suffix("") for p in FILES if room(p) in WITHOUT_TORCH]
    modules = [".".join(("sanstream", *f.parts)).removesuffix(".__init__") for f in files]
    code = f"import sys, importlib; [importlib.import_module(m) for m in {modules}]; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "False", done.stderr


def test_public_names_are_these() -> None:
    assert sanstream.__all__ == [
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
    assert dir(sanstream) == sorted(sanstream.__all__)


@pytest.mark.parametrize("public", sanstream.__all__)
def test_a_public_name_loads_and_is_documented(public: str) -> None:
    value = getattr(sanstream, public)
    assert public == "__version__" or (value.__doc__ and value.__module__.startswith("sanstream."))


def test_a_verb_stays_a_verb_after_its_file_is_imported() -> None:
    import sanstream.archive
    import sanstream.evaluate

    assert callable(sanstream.archive)
    assert callable(sanstream.evaluate)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, sanstream; print(sorted(sys.modules.keys() & {'numpy', 'torch', 'zarr', 'numba', 'click'}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
