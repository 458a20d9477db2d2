"""``publish``: a recording as a live feed."""

from __future__ import annotations

import os
from pathlib import Path

import click

from sanstream.cli.output import json_option, print_json


@click.command(short_help="Publish a recording as a live feed.")
@click.argument("recording", type=click.Path(path_type=Path))
@click.option(
    "--to", "url", required=True, metavar="URL",
    help="Where to: mqtt://HOST/PREFIX, nats://HOST/PREFIX or kafka://HOST/TOPIC; mqtts, natss, kafkas for TLS; "
    "mllp://HOST, lsl://NAME, or - for a pipe.",
)  # fmt: skip
@click.option("--speed", type=click.FloatRange(min=0), default=1.0, show_default=True,
              help="Seconds of signal per second; 0 for as fast as the receiver takes it.")  # fmt: skip
@click.option("--streams", type=click.IntRange(1, 100_000), default=1, show_default=True,
              help="Copies to publish, named NAME-0001 and so on.")  # fmt: skip
@click.option("--repeat", type=click.IntRange(min=1), default=1, show_default=True,
              help="How often to publish the recording, one after the other.")  # fmt: skip
@click.option("--name", help="Name of the published recording.  [default: the recording's own]")
@click.option("--seconds-per-message", type=click.FloatRange(min=0.001, max=60), default=1.0, show_default=True,
              help="Signal per message.")  # fmt: skip
@click.option("--wire", type=click.Choice(["binary", "json"]), default="binary", show_default=True,
              help="Form of the messages (WIRE.md).")  # fmt: skip
@click.option("--create", is_flag=True, help="nats: make the JetStream stream when there is none.")
@click.option("--user", default="", help="User at the broker.")
@click.option("--password-env", default="", metavar="NAME", help="Environment variable that holds the password.")
@click.option("--ca", default="", metavar="FILE", help="PEM file of certificates to trust.")
@json_option
def publish(
    recording: Path, url: str, speed: float, streams: int, repeat: int, name: str | None, seconds_per_message: float,
    wire: str, create: bool, user: str, password_env: str, ca: str, as_json: bool,
) -> None:  # fmt: skip
    """Publish a recording to a broker at its own pace or faster, and wait until the broker holds all of it.

    RECORDING is anything that archive reads: WFDB, EDF, BDF, CSV, Parquet or npy. Its annotations go out as events at
    their time. The first sample gets the present time as device time, whatever the speed.

    \b
    Example:
      sanstream publish mitdb/100 --to nats://localhost --create --speed 10
      sanstream publish mitdb/100 --to mqtt://localhost/icu --streams 20
    """
    from sanstream import publish as publishing
    from sanstream.errors import InputError
    from sanstream.formats import read

    password = os.environ.get(password_env, "") if password_env else ""
    if password_env and not password:
        raise InputError(f"the environment variable {password_env} is not set", hint="export the password in it")
    options = publishing.PublishOptions(url, user, password, create, wire == "json", ca)
    done = publishing.publish(
        read(recording), options,
        speed=speed, streams=streams, repeat=repeat, name=name, seconds_per_message=seconds_per_message,
    )  # fmt: skip
    n_events = sum(done.events.values())
    if as_json and url != "-":
        print_json(
            {"messages": done.n_messages, "bytes": done.n_bytes, "samples": done.n_samples, "events": n_events,
             "recordings": len({recording for recording, _ in done.samples})}
        )  # fmt: skip
        return
    # a pipe holds messages, so what is said of them goes elsewhere
    click.echo(f"confirmed: {done.n_messages} messages, {done.n_samples} samples, {n_events} events", err=url == "-")
