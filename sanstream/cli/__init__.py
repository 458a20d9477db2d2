"""The command line: commands of a few lines; everything heavy loads inside them."""

from __future__ import annotations

import click

from sanstream import __version__
from sanstream.cli.banks import banks, train
from sanstream.cli.exits import main, run
from sanstream.cli.generate import demo, simulate
from sanstream.cli.inspect import evaluate, info, records, verify
from sanstream.cli.live import delete, ingest, recover
from sanstream.cli.live_publish import publish
from sanstream.cli.live_status import status
from sanstream.cli.reencode import reencode
from sanstream.cli.store import archive, restore
from sanstream.cli.view import view

__all__ = ["main", "root", "run"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, message="sanstream %(version)s")
def root() -> None:
    """Archive biosignals as sparse activations plus a residual that keeps a stated bound.

    Data goes to stdout, logs and progress to stderr. Exit codes: 0 sound, 1 the thing examined is bad,
    2 usage or input, 130 interrupted.

    \b
    Example:
      sanstream archive mitdb/100 --to 100.san --quality prdn=5
      sanstream info 100.san
      sanstream restore 100.san --to restored
    """


for _command in (
    *(archive, restore, reencode, info, verify, records, evaluate, view, ingest, publish, status, delete, recover),
    *(banks, train, simulate, demo),
):
    root.add_command(_command)
