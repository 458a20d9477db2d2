"""Every example of the documentation is run as it is printed, or says why not."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conftest import Run
from docs_blocks import Block, blocks, is_module, modules_named, pages, run_block
from reencode_cases import run_inline

from sanstream.formats import write
from sanstream.signal import Recording
from sanstream.simulate import simulate_ecg, simulate_ppg

PAGES = [page for page in pages() if any(not b.reason for b in blocks(page))]
NOON = int(datetime(2024, 4, 30, 12, tzinfo=UTC).timestamp()) * 10**9


def sources_of_the_readme(folder: Path, run_process: Run) -> None:
    """Make what the README's commands are given: a record, a ward's files, a daemon's archive and configuration."""
    kept: list[tuple[str, Recording, str]] = [
        ("mitdb", simulate_ecg(660, name="100"), "wfdb"),
        ("ward", simulate_ppg(8, name="bed-1"), "edf"),
        ("feeds", simulate_ecg(70, rate_hz=250, name="bed-7", start_ns=NOON), "wfdb"),
    ]
    for place, recording, kind in kept:
        write(recording, folder / place, format=kind)
    (folder / "ingest.toml").write_text('[archive]\nurl = "other"\n[[feed]]\nurl = "sim://ecg"\n[http]\nlisten = ""\n')
    url = f"file://{folder}/feeds/bed-7.hea?speed=0"
    ended = run_process("ingest", url, "--to", "live", "--listen", "", cwd=folder)
    assert ended.code == 0, ended.err


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in, where nothing of the user's is found or changed."""
    for name in ("SANSTREAM_BANKS", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    run_inline(monkeypatch)
    monkeypatch.setattr("sanstream.daemon.logs.set_up_logs", lambda **_: None)  # it is for a whole process
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.mark.parametrize("page", [p for p in PAGES if p != "README.md"])
def test_the_examples_of_a_page_run_as_printed(page: str, at_home: Path) -> None:
    """From an empty folder, from its beginning to its end."""
    names: dict[str, object] = {}
    for block in blocks(page):
        if not block.reason:
            run_block(block, names)


def test_the_examples_of_the_readme_run_as_printed(
    at_home: Path, monkeypatch: pytest.MonkeyPatch, run_process: Run
) -> None:
    """Each section from the recordings that it names."""
    sources_of_the_readme(at_home, run_process)
    runnable = [block for block in blocks("README.md") if not block.reason]
    for number, section in enumerate(dict.fromkeys(b.section for b in runnable)):
        shutil.copytree(at_home, at_home.parent / str(number))
        monkeypatch.chdir(at_home.parent / str(number))
        names: dict[str, object] = {}
        for block in runnable:
            if block.section == section:
                run_block(block, names)


@pytest.mark.parametrize("page", pages())
def test_what_a_page_runs_by_its_module_is_there(page: str) -> None:
    missing = [name for name in modules_named(page) if not is_module(name)]
    assert not missing


@pytest.mark.parametrize("text", ["curl http://localhost", "sanstream info nothing.san", "sanstream info"])
def test_an_example_that_is_unknown_or_fails_is_noticed(text: str, at_home: Path) -> None:
    with pytest.raises(AssertionError, match="page:1"):
        run_block(Block("page", "", 1, "", text, ""), {})


def test_a_language_that_nobody_runs_is_noticed() -> None:
    with pytest.raises(AssertionError, match="mark the block"):
        run_block(Block("page", "", 1, "perl", "print 1", ""), {})
