"""Code blocks of the documentation, and how they are run: in order, page by page, each page in a folder of its own."""

from __future__ import annotations

import contextlib
import glob
import importlib.util
import io
import os
import re
import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path

from sanstream.cli import run

ROOT = Path(__file__).resolve().parents[1]
_FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```[ ]*$", re.DOTALL | re.MULTILINE)
_MARK = re.compile(r"<!-- not run: (.+?) -->\s*$", re.DOTALL)
SHELL = ("", "console", "sh", "bash")
SHOWN = ("text", "json")
"""Languages of what is printed or quoted, not run."""

# lines that are run elsewhere, or need what a test has not; the longest beginning that fits counts
NOT_RUN = {
    "sanstream demo": "tests/test_demo.py runs it",
    "sanstream ingest lsl://": "needs an LSL outlet: tests/test_feeds_lsl.py",
    "sanstream ingest nats://": "needs a broker: tests/test_live_readme.py",
    "sanstream archive 100.hea --to s3://": "needs a store: tests/test_archive_store.py",
    "sanstream recover /mnt/": "needs the disk of a dead machine: tests/test_workers.py",
    "sanstream train": "takes minutes: tests/test_train.py",
    "sanstream banks rollback": "needs a stream that was retrained: tests/test_jobs_retrain.py",
    "sanstream publish": "needs a broker: tests/test_live_readme.py",
    "sanstream view": "runs until it is stopped: tests/test_view.py, tests/test_view_browser.py",
    "pip install": "installing is for .ci/run",
    "python pipelines/": "campaigns have short forms in .ci/run",
    "python -m pipelines.": "campaigns have short forms in .ci/run",
    "cp ": "prepares a campaign",
}
# sections, or whole pages, that are run or checked elsewhere
ELSEWHERE = {
    ("README.md", "Live"): "tests/test_live_readme.py runs it as one script",
    ("docs/operations.md", ""): "root, containers and clusters: tests/test_deploy*.py check the files that it names",
}
# commands that are right to end otherwise: no daemon runs here
ENDS = {"sanstream status": 1}


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, and why it is not run, where its page says so."""

    page: str
    section: str
    line: int
    language: str
    text: str
    reason: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    """Name every page, from the repository's root."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [str(file.relative_to(ROOT)) for file in found]


def blocks(page: str) -> list[Block]:
    """Find a page's blocks but those of the site's own directives."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        mark = _MARK.search(text[: match.start()])
        line = text.count("\n", 0, match.start()) + 1
        section = "".join(re.findall(r"^## (.+)$", text[: match.start()], re.MULTILINE)[-1:])
        language = match[2].strip()
        if not language.startswith("{"):
            reason = mark[1] if mark else ELSEWHERE.get((page, section)) or ELSEWHERE.get((page, ""), "")
            found.append(Block(page, section, line, language, match[3], reason))
    return found


def run_block(block: Block, names: dict[str, object]) -> None:
    """Run a block as it stands; ``names`` are what the page's Python blocks have made so far."""
    if block.language == "python":
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile("\n" * block.line + block.text, str(ROOT / block.page), "exec"), names)
    elif block.language in SHELL:
        for line in lines_of(block):
            run_line(block, line)
    elif block.language == "toml":
        tomllib.loads(block.text)
    elif block.language == "sql":
        run_sql(block.text)
    else:
        assert block.language in SHOWN, f"{block}: {block.language} is not run: use another language, or mark the block"


def lines_of(block: Block) -> list[str]:
    """Return the commands of a shell block, whole, without prompts and comments."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [line.removeprefix("$ ").strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def why_not(line: str) -> str:
    """Say why a line is not run; empty where it is."""
    fits = [start for start in NOT_RUN if line.startswith(start)]
    return NOT_RUN[max(fits, key=len)] if fits else ""


def run_line(block: Block, line: str) -> None:
    """Run ``sanstream ...`` in this process, wildcards expanded, output to where ``>`` says; not the rest of a pipe."""
    if why_not(line):
        return
    assert line.startswith("sanstream "), f"{block}: {line!r} is neither run nor listed; mark the block, or list it"
    words = shlex.split(line.partition(" | ")[0], comments=True)[1:]
    words, target = (words[:-2], words[-1]) if ">" in words[-2:-1] else (words, os.devnull)
    arguments = [name for word in words for name in (sorted(glob.glob(word)) or [word])]
    errors = io.StringIO()
    with Path(target).open("w") as out, contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        code = run(arguments)
    expected = next((ENDS[start] for start in ENDS if line.startswith(start)), 0)
    assert code == expected, f"{block}: {line}\n{errors.getvalue()}"


def run_sql(text: str) -> None:
    """Run statements in DuckDB."""
    import duckdb

    duckdb.connect().execute(text).fetchall()


def modules_named(page: str) -> set[str]:
    """Return the modules that a page runs by ``python -m``."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return set(re.findall(r"python -m ((?:pipelines|sanstream)[\w.]*\w)", text))


def is_module(name: str) -> bool:
    """Whether ``python -m NAME`` finds something to run."""
    found = importlib.util.find_spec(name)
    return found is not None and (
        found.submodule_search_locations is None or importlib.util.find_spec(f"{name}.__main__") is not None
    )
