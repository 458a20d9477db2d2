"""The documentation cannot lie: commands, options, links and tables are checked against the code."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from docs_blocks import blocks, lines_of, pages

import sanstream
from sanstream.archive import StreamReader
from sanstream.cli import exits, root
from sanstream.quality import BITS, LOSSLESS, MAX_ERROR, PRDN, RMSE, SPARSE

KINDS = (LOSSLESS, SPARSE, PRDN, RMSE, MAX_ERROR, BITS)
ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [*pages(), "sanstream/FORMAT.md", "sanstream/WIRE.md"]


def walk(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if path:
        yield path, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from walk(inner, (*path, name))


COMMANDS = dict(walk(root))
each_command = pytest.mark.parametrize("path", COMMANDS, ids=" ".join)


def command_of(words: list[str]) -> tuple[tuple[str, ...], list[str]]:
    """Split the words after ``sanstream`` into a command's path and the rest."""
    for depth in (2, 1):
        if tuple(words[:depth]) in COMMANDS:
            return tuple(words[:depth]), words[depth:]
    raise AssertionError(f"no command: sanstream {' '.join(words)}")


def check_line(line: str) -> tuple[str, ...]:
    """Assert that a documented command line names a command and only options that it has."""
    words = shlex.split(line.split("|")[0].split(">")[0])
    assert words[0] == "sanstream"
    path, rest = command_of(words[1:])
    options = {o for p in COMMANDS[path].params for o in p.opts} | {"--help"}
    unknown = [w for w in rest if w.startswith("-") and len(w) > 1 and w.split("=")[0] not in options]
    assert not unknown, f"{line}: {unknown}"
    return path


def examples(command: click.Command) -> list[str]:
    text = (command.help or "").partition("Example:")[2]
    return [line.strip() for line in text.splitlines() if line.strip().startswith("sanstream ")]


@each_command
def test_a_command_has_help_with_an_example(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    assert command.help
    assert command.short_help
    own = [line for line in examples(command) if check_line(line)[: len(path)] == path]
    assert own, f"sanstream {' '.join(path)} shows no example of itself"


@each_command
def test_an_option_has_help(path: tuple[str, ...]) -> None:
    for parameter in COMMANDS[path].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{' '.join(path)} {parameter.opts[0]}"


@each_command
def test_a_command_stands_in_the_readme(path: tuple[str, ...]) -> None:
    if not isinstance(COMMANDS[path], click.Group):
        assert f"sanstream {' '.join(path)}" in README


@each_command
def test_a_command_and_its_options_stand_in_the_reference(path: tuple[str, ...]) -> None:
    """That the page is up to date is for test_config; here that nothing is left out of it."""
    page = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    section = page.partition(f"\n## sanstream {' '.join(path)}\n")[2].partition("\n## ")[0]
    assert section
    for parameter in COMMANDS[path].params:
        assert not isinstance(parameter, click.Option) or f"`{parameter.opts[0]}" in section, parameter.opts


@pytest.mark.parametrize("page", PAGES)
def test_every_command_line_is_valid(page: str) -> None:
    for block in blocks(page):
        for line in lines_of(block):
            if line.startswith("sanstream ") and "COMMAND" not in line and "[OPTIONS]" not in line:
                check_line(line)


@pytest.mark.parametrize("line", ["pip install . && sanstream demo", "pip install '.[test]' && pytest"])
def test_the_two_commands_stand_alone_on_a_line(line: str) -> None:
    assert line in README.splitlines()


def anchors(file: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and the site make them."""
    text = re.sub(r"^```.*?^```", "", file.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    file = ROOT / page
    text = re.sub(r"^```.*?^```", "", file.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\((?!https?://)([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        there = (file.parent / path) if path else file
        assert there.is_file(), target
        assert not anchor or anchor in anchors(there), target


def test_measured_tables_are_up_to_date() -> None:
    script = ROOT / "pipelines" / "tables.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_python_example_of_the_readme_compiles() -> None:
    for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        compile(code, "README.md", "exec")


def test_every_exit_code_stands_in_the_readme() -> None:
    own = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
    rows = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)}
    assert rows == {0, 128 + signal.SIGTERM} | own


def test_every_kind_of_quality_stands_in_the_help() -> None:
    (option,) = (p for p in COMMANDS[("archive",)].params if p.name == "qualities")
    assert isinstance(option, click.Option)
    for kind in KINDS:
        assert kind in str(option.help)


def test_what_an_amplitude_is_stands_where_it_is_exported() -> None:
    format_text = (ROOT / "sanstream" / "FORMAT.md").read_text(encoding="utf-8")
    assert "taps · 2^shift_c / 2048" in format_text
    for text in (str(COMMANDS[("records",)].help), str(StreamReader.records.__doc__)):
        assert "kernel_shapes(coding, bank, channel)" in text


def test_the_version_is_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == sanstream.__version__


def test_no_machine_stands_in_the_sources() -> None:
    """Absolute paths of one machine have no place in files that travel."""
    pattern = re.compile("/" + "(?:work|opt|root)/")
    for folder, pattern_of_files in (("sanstream", "*.py"), ("pipelines", "*.py"), ("docs", "*.md"), (".", "*.md")):
        files = (ROOT / folder).glob(pattern_of_files) if folder == "." else (ROOT / folder).rglob(pattern_of_files)
        for file in files:
            assert not pattern.search(file.read_text(encoding="utf-8")), file
