"""How a command ends: exit codes, and one line for every error."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, TextIO

import click

from sanstream.errors import BoundError, CorruptError, JobError, SanstreamError

BAD = 1
"""The thing examined is bad."""
USAGE = 2
"""Usage or input."""
BUG = 70
"""A defect of sanstream itself."""
INTERRUPTED = 130
BROKEN_PIPE = 141

_OS_HINTS = {
    errno.ENOSPC: "free some space or choose another target; nothing was left behind",
    errno.EDQUOT: "free some space or choose another target; nothing was left behind",
    errno.EFBIG: "the file system or ulimit -f allows no larger file; choose another target",
    errno.EACCES: "check the permissions, or choose another place",
    errno.EPERM: "check the permissions, or choose another place",
    errno.EROFS: "the file system is read-only; choose another place",
    errno.ENOENT: "check the path",
    errno.EISDIR: "name a file, not a folder",
    errno.ENOTDIR: "name a folder, not a file",
    errno.EMFILE: "raise ulimit -n",
}
_CORRUPT_HINT = "restore the file from a copy; sanstream verify ARCHIVE names every damaged one"


@contextmanager
def needed_by(what: str, extra: str) -> Iterator[None]:
    """Say what to install where an import meanwhile lacks a package.

    Parameters
    ----------
    what : str
        Who needs it, such as ``"the daemon"``.
    extra : str
        Sanstream's extra that brings it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "sanstream":
            raise
        raise click.ClickException(
            f"{package} is missing, which {what} needs; run: pip install 'sanstream[{extra}]'"
        ) from None


def _say(message: str) -> None:
    """Write one line to stderr, whatever the message holds."""
    click.echo("error: " + " ".join(message.split()), err=True)


def _os_message(error: OSError) -> str:
    what = error.strerror or str(error) or type(error).__name__
    where = f"{error.filename}: " if error.filename else ""
    hint = _OS_HINTS.get(error.errno or 0)
    return f"{where}{what}" + (f"; {hint}" if hint else "")


def _usage(error: click.ClickException) -> int:
    context = getattr(error, "ctx", None)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return USAGE
    hint = f"; see: {context.command_path} --help" if context is not None else ""
    _say(error.format_message().rstrip(".") + hint)
    return USAGE


def run(
    arguments: Sequence[str] | None = None, *, command: click.Command | None = None, name: str = "sanstream"
) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: the process's own.
    command : click.Command, optional
        Another than ``sanstream``, as the jobs of ``pipelines`` have it; it ends as ``sanstream`` does.
    name : str
        How it was called.

    Returns
    -------
    int
        The exit code.
    """
    from sanstream.cli import root

    chosen = root if command is None else command
    try:
        # not root.main(): it has its own mind about interrupts and closed pipes
        with chosen.make_context(name, list(sys.argv[1:] if arguments is None else arguments)) as context:
            status: Any = chosen.invoke(context)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as error:
        return _usage(error)
    except (click.Abort, KeyboardInterrupt) as error:
        _say("; ".join(["interrupted", *map(str, error.args)]))  # a verb that can go on says so
        return INTERRUPTED
    except SanstreamError as error:
        _say(str(error) if error.hint or not isinstance(error, CorruptError) else f"{error}; {_CORRUPT_HINT}")
        from sanstream.durable import SyncError  # here: it costs every other command its time

        return BAD if isinstance(error, CorruptError | BoundError | JobError | SyncError) else USAGE
    except BrokenPipeError:
        # the reader of stdout went away; keep Python's own last flush from complaining
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except OSError as error:
        _say(_os_message(error))
        return USAGE
    except MemoryError:
        _say("out of memory; archive fewer sources at a time, or restore a shorter stretch with --from and --until")
        return USAGE
    except Exception as error:
        traceback.print_exc()
        _say(f"sanstream has a defect: {type(error).__name__}: {error}; please report the lines above")
        return BUG


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    if issubclass(category, DeprecationWarning | PendingDeprecationWarning | FutureWarning):
        return
    click.echo("warning: " + " ".join(str(message).split()), err=True)


def _terminate(_signal: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)


def main(command: click.Command | None = None, name: str = "sanstream") -> NoReturn:
    """Run the process's command line and exit; SIGTERM unwinds, so that half-written targets go away."""
    warnings.showwarning = _warn
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(run(command=command, name=name))
