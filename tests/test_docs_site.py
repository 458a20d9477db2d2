"""Docstrings of what the site shows are whole. That it builds without a warning is for ``.ci/run``."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import sanstream

ROOT = Path(__file__).resolve().parents[1]
PYTHON = ROOT / "docs" / "reference"
_NAMED = re.compile(r"^\.\. auto(?:function|class|exception):: ([\w.]+)\w*(?:\(\))?$|^   :members: (.+)$", re.MULTILINE)
# made by sanstream alone: what their constructors take is nobody's concern
_INNER = ("Archive", "RecordingReader", "StreamReader")
# numpydoc's rules that hold here; the rest are of taste (See Also, Examples, full stops)
RULES = {"GL08", "SS03", "PR01", "PR02", "PR03", "PR04", "RT01", "RT02", "YD01"}
_RAISE = re.compile(r"raise (\w+Error)\(")


def needs_numpydoc() -> None:
    """Skip where the extra is not installed; in CI that is a failure."""
    if importlib.util.find_spec("numpydoc") is None:
        if os.environ.get("CI"):
            pytest.fail("numpydoc is not installed: pip install 'sanstream[docs]'")
        pytest.skip("needs numpydoc: pip install 'sanstream[docs]'")


def documented() -> Iterator[tuple[str, Any]]:
    """Yield the names of the site's Python pages, members included, with what they name."""
    for page in sorted(PYTHON.glob("python-*.md")):
        home, owner = "", None
        for name, members in _NAMED.findall(page.read_text(encoding="utf-8")):
            if name:
                module, _, word = name.rpartition(".")
                home, owner = name, getattr(import_module(module), word)
                yield name, owner
            for member in filter(None, members.split(", ")):
                yield f"{home}.{member}", inspect.getattr_static(owner, member)


DOCUMENTED = dict(documented())


def function_of(found: Any) -> Any:
    """Return what holds the docstring: of a property, a cached one or a class method its function."""
    for attribute in ("fget", "func", "__func__"):
        found = getattr(found, attribute, None) or found
    return found


def test_every_public_name_has_its_place() -> None:
    assert {f"sanstream.{name}" for name in sanstream.__all__ if not name.startswith("__")} <= DOCUMENTED.keys()


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_docstring_is_whole(name: str) -> None:
    needs_numpydoc()
    from numpydoc.validate import validate

    found = function_of(DOCUMENTED[name])
    rules = set(RULES)
    if name.rpartition(".")[2] in _INNER or (inspect.isclass(found) and issubclass(found, Exception)):
        rules -= {"PR01"}
    errors = [error for error in validate(f"{found.__module__}.{found.__qualname__}")["errors"] if error[0] in rules]
    assert not errors


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_docstring_lists_what_is_raised_and_the_shapes_of_arrays(name: str) -> None:
    found = function_of(DOCUMENTED[name])
    text = inspect.getdoc(found) or ""
    if not inspect.isclass(found):
        raised = set(_RAISE.findall(inspect.getsource(found)))
        assert not {error for error in raised if error not in text.partition("Raises\n")[2]}
    for line in text.splitlines():
        if re.match(r"(\w[\w, ]* : )?(ndarray|array-like|Tensor)\b", line):
            assert "shape" in line or "shape" in text.partition("\n")[0] or "1-D" in line, line
