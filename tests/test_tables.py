"""pipelines/tables.py fills marked regions from JSON lines and touches nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PIPELINES = Path(__file__).resolve().parents[1] / "pipelines"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the script in a project of its own."""
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "docs" / "measured").mkdir(parents=True)
    (tmp_path / "pipelines" / "tables.py").write_text((PIPELINES / "tables.py").read_text())
    (tmp_path / "README.md").write_text("before\n<!-- measured:speed -->\nold\n<!-- /measured:speed -->\nafter\n")
    return tmp_path


def tables(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(project / "pipelines" / "tables.py"), *arguments]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_rows_become_a_table(project: Path) -> None:
    lines = '{"codec": "a|b", "bit/sample": 3.14159, "n": 2, "_commit": "x"}\n\n{"codec": "c", "n": null}\n'
    (project / "docs" / "measured" / "speed.jsonl").write_text(lines)
    assert tables(project, "--check").returncode == 1
    assert tables(project).returncode == 0
    assert (project / "README.md").read_text() == (
        "before\n<!-- measured:speed -->\n"
        "| codec | bit/sample | n |\n|---|--:|--:|\n| a\\|b | 3.142 | 2 |\n| c | – | – |\n"
        "<!-- /measured:speed -->\nafter\n"
    )
    assert tables(project, "--check").returncode == 0


def test_a_region_without_rows_is_emptied(project: Path) -> None:
    assert tables(project).returncode == 0
    assert "old" not in (project / "README.md").read_text()


@pytest.mark.parametrize("line", ["{", "[1]"])
def test_a_bad_line_is_named(project: Path, line: str) -> None:
    (project / "docs" / "measured" / "speed.jsonl").write_text(f"{{}}\n{line}\n")
    ended = tables(project)
    assert ended.returncode == 1
    assert "speed.jsonl:2:" in ended.stderr
    assert "old" in (project / "README.md").read_text()
