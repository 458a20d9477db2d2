"""Who sees the viewer, and what its command refuses."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from asgi import Client
from conftest import Run
from view_cases import TOKEN, archived, make

from sanstream.archive import ArchiveWriter
from sanstream.errors import InputError
from sanstream.http_guard import Rules, guarded
from sanstream.view.app import make_viewer
from sanstream.view.library import Library
from sanstream.view.serve import ViewSettings, serve


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return archived(tmp_path_factory.mktemp("view") / "a.san")


@pytest.fixture
def shut(place: Path) -> Client:
    """The page behind its guard."""
    return Client(guarded(make_viewer(Library(str(place))), Rules(token=TOKEN, pages="/")))


def test_without_the_token_nothing_is_seen(shut: Client) -> None:
    for path in ("/", "/api/recordings", "/app.js", "/?token=", "/?token=wrong", f"/?token={TOKEN}&token={TOKEN}"):
        assert shut.get(path).status_code == 401, path
    assert shut.request("POST", "/api/recordings").status_code == 405
    assert shut.get("/", headers={"Host": "evil.example"}).status_code == 421


def test_the_token_in_the_address_is_exchanged_for_a_cookie(shut: Client) -> None:
    answer = shut.get(f"/?token={TOKEN}&x=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/?x=1")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert TOKEN not in cookie
    assert shut.get("/api/recordings").status_code == 200
    shut.cookies.clear()
    assert shut.get("/api/recordings").status_code == 401
    assert shut.get("/api/recordings", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    shut.cookies["sanstream_00000000"] = "0" * 64
    assert shut.get("/api/recordings").status_code == 401


def test_a_cookie_opens_pages_alone(place: Path) -> None:
    made = Client(guarded(make_viewer(Library(str(place))), Rules(token=TOKEN, pages="/view/")))
    assert made.get(f"/api/recordings?token={TOKEN}").status_code == 401
    assert made.get(f"/view/?token={TOKEN}").status_code == 303
    assert made.get("/api/recordings").status_code == 401
    answer = made.get(f"/view?token={TOKEN}")
    assert (answer.status_code, answer.headers["location"]) == (307, f"/view/?token={TOKEN}")
    assert made.get("/view", headers={"Host": "evil.example"}).status_code == 421


def test_beyond_this_machine_token_and_tls_are_needed(place: Path) -> None:
    with pytest.raises(InputError, match="reached from other machines"):
        serve(Library(str(place)), ViewSettings("0.0.0.0:0"))


def test_the_command_says_what_is_wrong(run: Run, tmp_path: Path, place: Path) -> None:
    assert "no such folder" in run("view", tmp_path / "nothing").err
    assert "is no address" in run("view", place, "--listen", "here").err
    beyond = run("view", place, "--listen", "0.0.0.0:8700").err
    assert "reached from other machines; give --token-env, --tls-cert and --tls-key" in beyond


def test_an_original_of_another_recording_is_refused(run: Run, tmp_path: Path, place: Path) -> None:
    other = make("bed9")
    with pytest.raises(InputError, match="the original is 'bed9', the archive holds no recording of that name"):
        Library(str(place), [other]).check_originals()
    renamed = replace(other.streams[0], name="1hz", rate=Fraction(1))
    with pytest.raises(InputError, match="has no stream of the archive's recording"):
        Library(str(place), [replace(make(), streams=(renamed,))]).check_originals()
    Library(str(place), [make()]).check_originals()
    with ArchiveWriter(tmp_path / "other.san") as writer:
        writer.add(other, effort="fast")
        writer.commit()
    assert run("restore", tmp_path / "other.san", "--to", tmp_path / "other", "--format", "edf").code == 0
    (file,) = (tmp_path / "other").glob("*.edf")
    ended = run("view", place, "--original", file)
    assert ended.code == 2
    assert "the original is 'bed9'" in ended.err
