"""The reference of every command, generated from the commands themselves (``docs/reference/cli.md``)."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import click

_HEAD = """# Command line

Every command with its arguments, options and examples. Generated from the commands themselves by
`python -m pipelines.references`; `sanstream COMMAND --help` says the same.

Data goes to stdout, logs and progress to stderr. `--json` prints a stable contract for scripts. Exit codes stand in the
[README](../../README.md#command-line), times (`T`) too.

| command | |
|---|---|
"""
_NAME = "sanstream"


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command below ``command`` with the words after ``sanstream``; a group before its own."""
    if path:
        yield path, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands(inner, (*path, name))


def cli_reference() -> str:
    """Return the reference as Markdown."""
    from sanstream.cli import root

    found = list(commands(root))
    rows = [
        f"| [`{_NAME} {' '.join(path)}`](#{_NAME}-{'-'.join(path)}) | {_cell(str(command.short_help))} |"
        for path, command in found
    ]
    return _HEAD + "\n".join(rows) + "\n\n" + "\n".join(_section(path, command) for path, command in found)


def _section(path: tuple[str, ...], command: click.Command) -> str:
    words = f"{_NAME} {' '.join(path)}"
    about, _, examples = inspect.cleandoc(command.help or "").partition("Example:")
    parts = [f"## {words}\n", f"```text\n{words} {' '.join(_usage(command))}\n```\n", _paragraphs(about)]
    rows = [_row(p) for p in command.params if isinstance(p, click.Option)]
    if rows:
        parts.append("| option | default | |\n|---|---|---|\n" + "\n".join(rows) + "\n")
    if examples.strip():
        parts.append(f"```text\n{inspect.cleandoc(examples)}\n```\n")
    return "\n".join(parts)


def _usage(command: click.Command) -> Iterator[str]:
    """Yield arguments and what must be given, as they are typed."""
    context = click.Context(command)
    if isinstance(command, click.Group):
        yield "COMMAND"
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            yield parameter.make_metavar(context)
        elif parameter.required:
            yield f"{parameter.opts[0]} {_value(parameter, context)}"
    if any(isinstance(p, click.Option) and not p.required for p in command.params):
        yield "[OPTIONS]"


def _paragraphs(about: str) -> str:
    """Keep paragraphs apart and drop click's marks."""
    return about.replace("\b", "").strip() + "\n"


def _row(option: click.Option) -> str:
    value = "" if option.is_flag else " " + _value(option, click.Context(click.Command("none")))
    names = ", ".join(f"`{_cell(name + value)}`" for name in sorted(option.opts, key=len, reverse=True))
    text, _, said = (option.help or "").partition("  [default: ")
    if option.required:
        default = "required"
    elif said:
        default = said.rstrip("]")
    else:
        default = f"`{option.default}`" if _given(option) else ""
    return f"| {names} | {default} | {_cell(' '.join(filter(None, (text, _limits(option)))))} |"


def _given(option: click.Option) -> bool:
    """Tell a default from none, an empty one, and click's own mark for none."""
    value = option.default
    return not option.is_flag and isinstance(value, str | int | float | Path) and value != ""


def _value(option: click.Parameter, context: click.Context) -> str:
    if isinstance(option.type, click.Choice) and option.metavar is None:
        return "|".join(map(str, option.type.choices))
    return option.make_metavar(context).removesuffix(" RANGE")


def _limits(option: click.Option) -> str:
    kind = option.type
    if not isinstance(kind, click.IntRange | click.FloatRange):
        return ""
    if kind.min is None or kind.max is None:
        return f"At least {kind.min:g}." if kind.min is not None else f"At most {kind.max:g}."
    return f"{kind.min:g} to {kind.max:g}."


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
