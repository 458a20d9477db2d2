"""The configuration: every key checked, the nearest name given, secrets nowhere but in the environment."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import ClassVar

import pytest

from sanstream.config import ArchiveSettings, Settings, feed_options, keys_of
from sanstream.config_effective import effective
from sanstream.config_quality import asked_for, check_quality, qualities_of
from sanstream.config_read import load_settings, read_settings
from sanstream.config_values import read_duration, read_size, write_duration, write_size
from sanstream.errors import InputError
from sanstream.modality import modality_of
from sanstream.signal import Channel

ROOT = Path(__file__).resolve().parents[1]
WARD = """
[archive]
url = "ward7/live"
state_dir = "sanstream-state"
keep = "90d"
max_bytes = "2TiB"
[quality]
default = "prdn=5"
ecg = "lossless"
"P*" = "max-error=1mmHg"
[[feed]]
name = "icu-a"
url = "nats://broker:4222"
password_env = "NATS_PASSWORD"
streams = "icu.a.>"
reorder = "2m30s"
[[feed]]
url = "lsl://EEG"
resolution = "0.5uV"
[retrain]
mode = "shadow"
cooldown = "90m"
[http]
listen = "[::1]:0"
token_env = "SANSTREAM_TOKEN"
[limits]
memory = "512MiB"
queue = "250ms"
[identity]
map = { "4711^Doe" = "bed-7" }
"""
Read = Callable[[str], Settings]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def call(text: str) -> Settings:
        file = tmp_path / "ingest.toml"
        file.write_text(text, encoding="utf-8")
        return load_settings(file)

    return call


def test_a_file_becomes_frozen_settings_in_base_units(read: Read) -> None:
    settings = read(WARD)
    assert settings.archive.keep_s == 90 * 86400
    assert settings.archive.max_bytes == 2 << 40
    assert [f.name for f in settings.feeds] == ["icu-a", "lsl"]
    assert settings.feeds[0].reorder_s == 150
    assert settings.retrain.cooldown_s == 5400
    assert (settings.limits.memory_bytes, settings.limits.queue_s) == (512 << 20, 0.25)
    with pytest.raises(FrozenInstanceError):
        settings.archive.url = "elsewhere"  # type: ignore[misc]


def test_what_is_in_force_reads_back_the_same_and_names_no_patient(read: Read) -> None:
    settings = read(WARD)
    text = effective(settings)
    again = read_settings(tomllib.loads(text), "again")
    assert again.identity == {}
    assert {**vars(again), "identity": 0} == {**vars(settings), "identity": 0}
    assert "Doe" not in text
    assert "bed-7" not in text


def test_the_example_of_the_reference_needs_nothing_but_a_folder_and_a_url() -> None:
    settings = load_settings(urls=["lsl://EEG"], to="live")
    assert settings.archive == ArchiveSettings("live", Path("live.state"))
    assert settings.feeds[0].name == "lsl"
    assert settings.http.listen == "127.0.0.1:9464"


def test_the_command_line_goes_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "ingest.toml"
    file.write_text(WARD, encoding="utf-8")
    settings = load_settings(
        file,
        urls=["sim://4", "sim://5"],
        to="other",
        state_dir="st",
        qualities=["rmse=2adu", "V5=lossless"],
        effort="fast",
        listen="",
    )
    assert settings.archive.url == "other"
    assert settings.archive.state_dir == Path("st")
    assert settings.archive.effort == "fast"
    assert settings.archive.keep_s == 90 * 86400
    assert [f.name for f in settings.feeds] == ["icu-a", "lsl", "sim", "sim-2"]
    assert settings.quality["default"] == "rmse=2adu"
    assert settings.quality["V5"] == "lossless"
    assert settings.quality["ecg"] == "lossless"
    assert settings.http.listen == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[archiv]\nurl = "a"', ["ingest.toml: unknown table 'archiv'", "did you mean 'archive'?"]),
        ('[archive]\nurl = "a"\nkep = "1d"', ["ingest.toml: [archive]", "'kep'", "did you mean 'keep'?"]),
        ('[archive]\nurl = "a"\n[limits]\nmemry = "1GiB"', ["[limits]", "'memry'", "'memory'"]),
        ('[archive]\nurl = "a"\n[limits]\nmemory = 1', ["[limits]: memory", "1B is outside 64MiB"]),
        ('[archive]\nurl = "a"\n[limits]\nqueue = 30', ["[limits]: queue: 30 is no duration", 'write "30s"']),
        ('[archive]\nurl = "a"\n[limits]\nqueue = "30 seconds"', ["'30 seconds' is no duration"]),
        ('[archive]\nurl = "a"\nkeep = "5m"', ["[archive]: keep: 5m is outside 1h"]),
        ('[archive]\nurl = "a"\nkeep_by = "age"', ["keep_by: 'age'", "'commit' or 'signal'"]),
        ('[archive]\nurl = "a"\neffort = "thorough"', ["effort: 'thorough'", "'fast' or 'default'"]),
        ('[archive]\nurl = "s3://ward7/live"', ["state_dir is missing", "on a local disk"]),
        ('[archive]\nurl = "ftp://ward7/live"', ["archives on ftp:// are not supported", "s3://"]),
        ('[archive]\nurl = "a"\nstate_dir = "a/state"', ["lie inside each other", "side by side"]),
        ('[archive]\nurl = "a"\nstate_dir = "nfs://x"', ["state_dir: 'nfs://x' is no folder"]),
        ("[archive]\n", ["[archive]: no archive is named", "--to DIR"]),
        ("[archive]\nurl = 5", ["[archive]: url: 5 is no text", "in quotes"]),
        ('[archive]\nurl = "a"\n[[feed]]\nurl = ["sim:"]', ["[[feed]] 1: url: ['sim:'] is no text"]),
        ('[archive]\nurl = "a"\n[quality]\necg = "prd=5"', ["[quality]: ecg", "use prdn=5"]),
        ('[archive]\nurl = "a"\n[quality]\necg = "bits=0.5"', ["needs a whole recording"]),
        ('[archive]\nurl = "a"\n[quality]\necg = 5', ["5 is no quality"]),
        (
            '[archive]\nurl = "a"\n[quality]\ndefualt = "prdn=5"',
            ["[quality]: unknown key 'defualt'", "did you mean 'default'?", '"[d]efualt"'],
        ),
        ('[archive]\nurl = "a"\n[quality]\nDefault = "prdn=5"', ["did you mean 'default'?"]),
        ('[archive]\nurl = "a"\n[quality]\npresure = "prdn=5"', ["did you mean 'pressure'?"]),
        ('[archive]\nurl = "a"\n[quality]\nrespirtion = "prdn=5"', ["did you mean 'respiration'?"]),
        ('[archive]\nurl = "a"\n[feed]\nurl = "sim://"', ["[[feed]]", "two brackets"]),
        ('[archive]\nurl = "a"\n[[feed]]\nname = "x"', ["[[feed]] 1: url is missing"]),
        ('[archive]\nurl = "a"\n[[feed]]\nurl = "sim://"\nname = "a b"', ["[[feed]] 1: name 'a b' is no name"]),
        ('[archive]\nurl = "a"\n[[feed]]\nurl="sim:"\nname="x"\n[[feed]]\nurl="sim:"\nname="x"', ["2: name 'x' is"]),
        ('[archive]\nurl = "a"\n[http]\nlisten = "localhost"', ["listen: 'localhost' is no address"]),
        ('[archive]\nurl = "a"\n[http]\nopen_metrics = 1', ["1 is neither true nor false"]),
        ('[archive]\nurl = "a"\n[http]\ntls_cert = "x.pem"', ["tls_cert and tls_key go together"]),
        ('[archive]\nurl = "a"\n[identity]\nmap = { "Doe" = "a/b" }', ["[identity]: map", "cannot be a folder's"]),
        ('[archive]\nurl = "a"\n[identity]\nmapp = {}', ["'mapp'", "'map'"]),
        ('archive = 3', ["[archive] is no table"]),
        ('[archive', ["no TOML"]),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place_and_what_to_write(read: Read, text: str, said: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        read(text)
    for words in said:
        assert words in str(caught.value)
    assert caught.value.hint or "no TOML" in said


@pytest.mark.parametrize(
    "text",
    [
        '[[feed]]\nurl = "mqtt://b"\npassword = "hunter2"',
        '[[feed]]\nurl = "mqtt://b"\nsasl_password = "hunter2"',
        '[http]\ntoken = "hunter2"',
        '[[feed]]\nurl = "mqtt://me:hunter2@b"',
        '[[feed]]\nurl = "mqtt://b?token=hunter2"',
        '[[feed]]\nurl = "mqtt://b"\npassword_env = "hunter2!"',
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_repeated(read: Read, text: str) -> None:
    with pytest.raises(InputError) as caught:
        read('[archive]\nurl = "a"\n' + text)
    assert "hunter2" not in str(caught.value)
    assert caught.value.hint
    assert "variable" in str(caught.value).lower()


def test_a_password_comes_from_the_environment_alone(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(WARD)
    monkeypatch.delenv("NATS_PASSWORD", raising=False)
    with pytest.raises(InputError, match="NATS_PASSWORD is not set"):
        feed_options(settings, settings.feeds[0])
    monkeypatch.setenv("NATS_PASSWORD", "hunter2")
    options = feed_options(settings, settings.feeds[0])
    assert options.password == "hunter2"
    assert options.identity == {"4711^Doe": "bed-7"}
    assert "hunter2" not in repr(options) + repr(settings) + effective(settings)


def test_a_url_on_the_command_line_takes_its_password_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANSTREAM_PASSWORD", "hunter2")
    settings = load_settings(urls=["mqtt://broker"], to="live")
    assert feed_options(settings, settings.feeds[0]).password == "hunter2"


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:9464", "[::]:9464", "192.0.2.7:9464", "ward7.example:9464", "127.evil.test:1"]
)
def test_an_address_beyond_loopback_needs_token_and_tls(read: Read, listen: str) -> None:
    head = f'[archive]\nurl = "a"\n[http]\nlisten = "{listen}"\n'
    tls = 'tls_cert = "c.pem"\ntls_key = "k.pem"\n'
    for lacking in ("", 'token_env = "T"\n', tls):
        with pytest.raises(InputError, match="token or TLS"):
            read(head + lacking)
    assert read(head + 'token_env = "T"\n' + tls).http.token_env == "T"
    assert read(head + "open_metrics = true\n").http.open_metrics


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90d", 7776000), ("1h30m", 5400), ("250ms", 0.25), ("0.5s", 0.5), ("2w", 1209600), ("1d12h", 129600)],
)
def test_a_duration_is_read_and_written(text: str, seconds: float) -> None:
    assert read_duration(text) == seconds
    assert read_duration(write_duration(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "s", "5", "-5s", "5 s", "5s5", "5x", "1e3s", "m5", None, True, 5, []])
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(InputError):
        read_duration(text)


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [("4GiB", 4 << 30), ("1.5MiB", 3 << 19), ("10GB", 10**10), ("7B", 7), ("64 KiB", 65536), (9, 9)],
)
def test_a_size_is_read_and_written(text: str | int, n_bytes: int) -> None:
    assert read_size(text) == n_bytes
    assert read_size(write_size(n_bytes)) == n_bytes


@pytest.mark.parametrize("text", ["", "GiB", "4", "-4GiB", "4gib", "4PB", None, True, 4.5])
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(InputError):
        read_size(text)


def test_a_label_goes_before_a_modality_and_that_before_the_default() -> None:
    channels = [Channel(label, unit="mV", gain=200.0) for label in ("II", "V5", "EEG Fz", "thing")]
    asked = {"V*": "max-error=2adu", "default": "prdn=5", "ecg": "rmse=10uV"}
    found, misfits = qualities_of(asked, channels)
    assert [str(q) for q in found] == ["rmse=10uV", "max-error=2adu", "prdn=5", "prdn=5"]
    assert misfits == ()


@pytest.mark.parametrize(("label", "modality"), [("V", "ecg"), ("V5", "ecg"), ("Vent", "other"), ("V-fib", "other")])
def test_the_precordial_lead_that_monitors_call_v_is_an_ecg(label: str, modality: str) -> None:
    assert modality_of(Channel(label, unit="mV")) == modality


@pytest.mark.parametrize(
    "label",
    "ecg1 II ECG EEG ecog eeg-C3 egg fault defib ether expiration inspiration respiratory Respiration Resp Pressure "
    "pressure2 trig Trigger trigger_in mother".split(),
)
def test_an_honest_label_is_a_key(label: str) -> None:
    settings = read_settings({"archive": {"url": "a"}, "quality": {label: "prdn=5"}}, "x.toml")
    assert asked_for(settings.quality, Channel(label)) == "prdn=5"


def test_a_label_that_looks_misspelt_can_be_written_as_a_pattern() -> None:
    settings = read_settings({"archive": {"url": "a"}, "quality": {"[d]efualt": "prdn=5"}}, "x.toml")
    assert [asked_for(settings.quality, Channel(k)) for k in ("defualt", "II")] == ["prdn=5", "lossless"]


def test_a_quality_in_a_unit_that_a_channel_lacks_makes_it_lossless_and_says_so() -> None:
    channels = [Channel("ABP", unit="mmHg", gain=10.0), Channel("II", unit="mV", gain=200.0)]
    found, misfits = qualities_of({"default": "rmse=10uV"}, channels)
    assert [q.kind for q in found] == ["lossless", "rmse"]
    assert misfits == (0,)


@pytest.mark.parametrize("text", ["lossless", "prdn=5", "rmse=10uV", "rmse=2adu", "max-error=1mmHg", "sparse"])
def test_a_quality_is_checked_before_any_channel_is_known(text: str) -> None:
    assert check_quality(text) == text


def test_a_common_key_misspelt_is_not_taken_for_the_feeds_own(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    class Made:
        OPTIONS: ClassVar = {"own": (int, 1, "Its own.")}

    monkeypatch.setattr("sanstream.config_read.feed_class", lambda url: Made)
    head = '[archive]\nurl = "a"\n[[feed]]\nurl = "sim://"\n'
    assert read(head + "own = 3").feeds[0].options == {"own": 3}
    with pytest.raises(InputError, match="did you mean 'reorder'"):
        read(head + 'reoder = "5s"')


def test_live_efforts_are_those_of_the_encoder() -> None:
    from sanstream.encode_live import LIVE_EFFORTS

    assert set(LIVE_EFFORTS) == {w.strip('"') for w in keys_of(ArchiveSettings)["effort"].kind.what.split(" or ")}


def test_the_generated_references_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.references", "--check"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


def test_the_rounding_of_floats_is_counted_in_the_bound() -> None:
    channel = Channel("EEG Cz", "uV", 100.0, 0, -32767, 32767, missing=-32768, header={"rounding": 0.005})
    (asked,), _ = qualities_of({"default": "max-error=4adu"}, [channel])
    assert (asked.kind, asked.value) == ("max-error", 3)
    (asked,), _ = qualities_of({"default": "rmse=0.1uV"}, [channel])
    assert (asked.kind, asked.value) == ("rmse", 9.5)
    (asked,), _ = qualities_of({"default": "max-error=1adu"}, [channel])
    assert asked.kind == "lossless"
