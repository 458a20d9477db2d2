"""``view``."""

from __future__ import annotations

from pathlib import Path
from threading import Timer

import click

from sanstream.cli.exits import needed_by
from sanstream.cli.output import json_option, print_json


@click.command(short_help="Look at an archive in a browser.")
@click.argument("archive", metavar="ARCHIVE")
@click.option(
    "--original", "originals", multiple=True, metavar="RECORDING", help="What was archived, to compare with; repeat it."
)
@click.option("--state", metavar="DIR", help="State folder of the daemon, for its alarms; default: the archive's own.")
@click.option("--listen", metavar="ADDRESS", help="Default: a free port of 127.0.0.1.")
@click.option("--token-env", metavar="NAME", default="", help="Variable that holds the token; default: a new one.")
@click.option("--tls-cert", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="PEM certificate.")
@click.option("--tls-key", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="PEM key.")
@click.option("--host", "hosts", multiple=True, metavar="NAME", help="Further names that browsers may ask for.")
@click.option("--browser", is_flag=True, help="Open the page in the browser of this machine.")
@json_option
def view(
    archive: str,
    originals: tuple[str, ...],
    state: str | None,
    listen: str | None,
    token_env: str,
    tls_cert: Path | None,
    tls_key: Path | None,
    hosts: tuple[str, ...],
    browser: bool,
    as_json: bool,
) -> None:
    """Serve a page that shows recordings, activations, figures and marks, until interrupted.

    The address that is printed holds a token; without it nobody on this machine sees anything. Beyond this
    machine --token-env, --tls-cert and --tls-key are needed.

    \b
    Example:
      sanstream view 100.san
      sanstream view 100.san --original mitdb/100 --browser
      sanstream view live --state live.state --listen 127.0.0.1:8700
    """
    import webbrowser

    with needed_by("the viewer", "view"):
        from sanstream.view.serve import LISTEN, ViewSettings, serve
    from sanstream.archive_live_place import read_place
    from sanstream.archive_objects import local_path
    from sanstream.archive_store import remote_scheme
    from sanstream.formats import read
    from sanstream.view.library import Library

    library = Library(archive, [read(path) for path in originals])
    library.check_originals()
    folder = Path(state) if state else None if remote_scheme(archive) else read_place(local_path(archive))

    def say() -> None:
        click.echo("compiling loops, once after an installation", err=True)

    waiting = Timer(4, say)
    waiting.daemon = True

    def ready(url: str) -> None:
        waiting.cancel()
        if as_json:
            print_json({"url": url})
        else:
            click.echo(url)
        if browser:
            webbrowser.open(url)

    settings = ViewSettings(listen or LISTEN, token_env, tls_cert, tls_key, hosts)
    waiting.start()
    try:
        serve(library, settings, state_dir=folder, ready=ready)
    except KeyboardInterrupt:
        click.echo("closed", err=True)
    finally:
        waiting.cancel()
