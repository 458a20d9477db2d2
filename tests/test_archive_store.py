"""Archives in an object store: a real S3 server process, a proxy that spoils requests, two writers, killed writers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from archive_cases import CONTAINERS, assert_same, patient, tiny
from conftest import Run
from s3_server import BUCKET, Proxy, environment, s3_server, use_s3

import sanstream
from sanstream import archive_claim, archive_draft_remote, archive_store
from sanstream.archive import verify
from sanstream.archive_claim import CLAIM, STALE_S, Busy, Claim
from sanstream.archive_store import RemoteObjects, StoreError, Taken
from sanstream.archive_write import ArchiveWriter
from sanstream.errors import CorruptError, InputError, UnsupportedError
from sanstream.reencode_store import alone, checkpoints_of
from sanstream.simulate import simulate_ecg
from sanstream.transfer import convert

PATIENT = patient()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture
def proxy(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    proxy = Proxy(server)
    use_s3(monkeypatch, proxy.endpoint)
    monkeypatch.setitem(archive_store._RETRY, "backoff", {"init_backoff": timedelta(milliseconds=5), "base": 2})
    yield proxy
    proxy.close()


@pytest.fixture
def url(request: pytest.FixtureRequest, server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    use_s3(monkeypatch, server)
    return f"s3://{BUCKET}/{request.node.name.replace('[', '-').replace(']', '')}/a.san"


def write(url: str, *recordings: sanstream.Recording, container: str | None = None, append: bool = False) -> None:
    with ArchiveWriter(url, container=container, append=append) as writer:
        for recording in recordings:
            writer.add(recording)
        writer.commit()


@pytest.mark.parametrize("container", CONTAINERS)
def test_what_goes_in_comes_out(url: str, container: str, tmp_path: Path) -> None:
    write(url, PATIENT, tiny(), container=container)
    with sanstream.open(url) as archive:
        assert list(archive.recordings) == ["bed1", "t"]
        assert archive.container == container
        assert_same(archive.recordings["bed1"].read(), PATIENT)
        assert_same(archive.recordings["t"].read(), tiny())
        assert archive.verify(deep=True) == []
        remote = archive.info()
    for target, source in ((tmp_path / "here.san", url), (f"{url}.back", tmp_path / "here.san")):
        convert(source, to=target, container=container)
        assert verify(target, deep=True) == []
    assert sanstream.open(tmp_path / "here.san").info()["coded_bytes"] == remote["coded_bytes"]
    assert not [k for k in all_keys(url) if ".partial" in k]


def all_keys(url: str) -> list[str]:
    import obstore

    return [m["path"] for chunk in obstore.list(RemoteObjects(url)._store) for m in chunk]


def test_a_cold_read_is_three_requests_and_the_next_is_one(url: str, proxy: Proxy) -> None:
    write(url, PATIENT, tiny())
    proxy.requests.clear()
    stream = sanstream.open(url).recordings["bed1"].streams["100hz"]
    first = stream.read(0, 1000)
    assert [p.rpartition("a.san/")[2] for _, p in proxy.requests] == [
        "bed1/manifest.json", "bed1/100hz/0/c/0/0", "bed1/100hz/0/c/0/0",
    ]  # fmt: skip
    assert {method for method, _ in proxy.requests} == {"GET"}
    again = stream.read(1000, 2000)
    assert len(proxy.requests) == 4
    grid = PATIENT.streams[0].segments[0].samples
    assert np.array_equal(np.concatenate([first, again])[:, :3], grid[:2000])


def test_a_cold_read_of_a_segment_with_kernels_is_three_requests_too(url: str, proxy: Proxy) -> None:
    heart = simulate_ecg(180, rate_hz=100, n_leads=2, seed=3)
    with ArchiveWriter(url) as writer:
        writer.add(heart, ("prdn=5",), effort="default")
        writer.commit()
    proxy.requests.clear()
    (stream,) = sanstream.open(url).recordings[heart.name].streams.values()
    stream.read(0, 1000)
    assert len(proxy.requests) == 3
    assert stream.coding(stream.entry.segments[0]).bank_delta


def test_a_store_that_fails_slows_nothing_but_the_clock(url: str, proxy: Proxy) -> None:
    proxy.spoil = {"500": 0.12, "lost": 0.08, "torn": 0.08, "slow": 0.05}
    write(url, PATIENT)
    write(url, tiny(), append=True)
    with sanstream.open(url) as archive:
        assert_same(archive.recordings["bed1"].read(), PATIENT)
    proxy.spoil = {}
    assert verify(url, deep=True) == []
    assert list(sanstream.open(url).recordings) == ["bed1", "t"]
    assert {"500", "lost"} <= set(proxy.spoiled)


def test_a_store_that_only_fails_is_one_clear_error(url: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    write(url, tiny())
    monkeypatch.setitem(archive_store._RETRY, "max_retries", 2)
    proxy.spoil = {"500": 1.0}
    with pytest.raises(InputError, match=r"catalog\.json cannot be read \(the store answered 500"):
        list(sanstream.open(url).recordings)
    with pytest.raises(InputError, match="the store answered 500"):
        write(f"{url}.more", tiny())
    proxy.spoil = {}
    assert not all_keys(f"{url}.more")


def test_a_store_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    use_s3(monkeypatch, "http://127.0.0.1:9")
    monkeypatch.setitem(archive_store._RETRY, "max_retries", 1)
    said = r"s3://nowhere/a.san/x/manifest.json cannot be read \(the store cannot be reached\); .*AWS_ENDPOINT_URL"
    with pytest.raises(InputError, match=said):
        sanstream.open("s3://nowhere/a.san").recordings["x"]


def test_a_bucket_that_is_not_there(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use_s3(monkeypatch, server)
    objects = RemoteObjects("s3://nobucket/a.san")
    for ask in (
        lambda: write(objects.url, tiny()),
        lambda: objects.put("x", b"x"),
        lambda: objects.make("x", b"x"),
        lambda: objects.swap("x", b"x", {"e_tag": '"0"'}),
        lambda: objects.read("x"),
        lambda: objects.remove(["x"]),
        lambda: list(objects.keys()),
    ):
        with pytest.raises(InputError, match="bucket 'nobucket' does not exist"):
            ask()


def test_a_store_that_refuses_names_the_credentials(url: str, proxy: Proxy) -> None:
    proxy.refuse = True
    said = rf"{re.escape(url)}/x cannot be %s \(the store does not allow it .*AWS_ACCESS_KEY_ID, and their rights"
    with pytest.raises(InputError, match=said % "read"):
        RemoteObjects(url).read("x")
    with pytest.raises(InputError, match=said % "written"):
        RemoteObjects(url).make("x", b"x")


def test_nothing_is_seen_before_the_commit_and_nothing_left_after_an_abort(url: str) -> None:
    with ArchiveWriter(url) as writer:
        writer.add(PATIENT)
        with pytest.raises(InputError, match="no archive stands here"):
            list(sanstream.open(url).recordings)
    assert [k for k in all_keys(url) if not k.startswith("banks/")] == []


def test_a_second_writer_is_told_of_the_first(url: str) -> None:
    with ArchiveWriter(url) as writer:
        writer.add(tiny())
        with pytest.raises(InputError, match="another process is writing to it"):
            ArchiveWriter(url)
        writer.commit()
    with pytest.raises(InputError, match="is not empty; add to it with --append"):
        ArchiveWriter(url)
    with ArchiveWriter(url, append=True) as first, pytest.raises(InputError, match="another process"):
        first.add(PATIENT)
        ArchiveWriter(url, append=True)
    with pytest.raises(InputError, match="holds a recording 't' already"):
        write(url, tiny(), append=True)
    with pytest.raises(InputError, match="no archive stands here; leave out --append"):
        ArchiveWriter(f"{url}.none", append=True)


def test_a_foreign_folder_is_left_alone(url: str) -> None:
    RemoteObjects(url).put("notes.txt", b"mine")
    with pytest.raises(InputError, match="is not empty"):
        ArchiveWriter(url)
    assert all_keys(url) == ["notes.txt"]


@pytest.mark.parametrize(
    "point", ["object_written:3", "recording_written", "before_rename", "renamed", "before_catalog"]
)
def test_what_a_killed_writer_left_is_passed_over(
    point: str, url: str, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = tmp_path / "x.npy"
    np.save(recording, np.arange(4000, dtype=np.int32)[:, None] % 700)
    command = [sys.executable, "-m", "sanstream", "archive", recording, "--rate", "100", "--to", url]
    done = subprocess.run(
        command, env={**os.environ, **environment(server), "SANSTREAM_FAULT": f"archive.{point}"}, capture_output=True
    )
    assert done.returncode == -9, done.stderr.decode()
    with pytest.raises(InputError, match="another process is writing"):
        ArchiveWriter(url)
    draft = archive_draft_remote.RemoteDraft
    monkeypatch.setattr("sanstream.archive_write.RemoteDraft", lambda *a, **k: draft(*a, clock=later, **k))
    if point in ("renamed", "before_catalog"):  # the recording is whole: it is not thrown away
        with pytest.raises(InputError, match="is not empty"):
            write(url, tiny())
        return
    write(url, tiny())
    assert verify(url, deep=True) == []
    assert list(sanstream.open(url).recordings) == ["t"]


def later() -> float:
    """An hour from now."""
    return time.time_ns() / 1e9 + STALE_S + 1


def test_a_writer_whose_claim_was_taken_over_commits_nothing(url: str) -> None:
    objects = RemoteObjects(url)
    with ArchiveWriter(url) as writer:
        writer.add(tiny())
        _, version = objects.read_version(CLAIM)
        objects.swap(CLAIM, b'{"renewed_s": 0}', version)
        with pytest.raises(InputError, match="another process is writing"):
            writer.commit()
    with pytest.raises(InputError, match="no archive stands here"):
        list(sanstream.open(url).recordings)


def test_a_writer_whose_claim_was_taken_over_leaves_the_other_ones_objects(url: str) -> None:
    slow = ArchiveWriter(url, writer="work")
    slow.add(tiny())
    _, version = RemoteObjects(url).read_version(CLAIM)
    RemoteObjects(url).swap(CLAIM, b'{"renewed_s": 0, "writer": "work"}', version)  # long ago
    write(url, tiny())
    slow.abort()
    assert verify(url, deep=True) == []
    assert_same(sanstream.open(url).recordings["t"].read(), tiny())


def test_the_same_work_waits_for_one_that_was_killed_and_yields_to_one_that_lives(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_claim, "RENEWED_S", 0.2)
    waited: list[float] = []

    def pause(seconds: float) -> None:
        waited.append(seconds)
        time.sleep(0.5)

    first, second = (Claim(RemoteObjects(url), writer="work", pause=pause) for _ in range(2))
    with first.kept():
        with pytest.raises(Busy, match="another process is writing"):
            second.take()
        assert len(waited) == 1
    waited.clear()
    first.take()  # and is killed: nobody renews it
    monkeypatch.setattr(archive_claim, "SAME_S", 2.0)
    assert second.take(), "taken over"
    assert len(waited) == 2
    with pytest.raises(Busy):
        first.renew(sure=True)
    with pytest.raises(Busy):
        Claim(RemoteObjects(url), writer="other work").take()
    second.release()
    assert not Claim(RemoteObjects(url), writer="other work").take()


def test_two_that_re_encode_to_one_place_are_one_after_the_other(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_claim, "RENEWED_S", 0.2)
    place = checkpoints_of(url)
    with alone(place, url) as store:
        store.put("a/plan", b"1")
        with pytest.raises(InputError, match="another process is re-encoding to it"), alone(place, url):
            raise AssertionError
        assert store.get("a/plan") == b"1"
    with alone(place, url) as store:
        assert store.keys() == ["a/plan"]
        store.clear()
    assert list(RemoteObjects(url).keys()) == []


def test_changed_truncated_and_missing_objects_are_found(url: str) -> None:
    write(url, PATIENT)
    objects = RemoteObjects(url)
    shard, meta = "bed1/100hz/0/c/0/0", "bed1/100hz/zarr.json"
    data = objects.read(shard)
    objects.put(shard, data[:-1])
    objects.remove([meta])
    assert {p.path for p in verify(url)} == {shard, meta}
    with pytest.raises(CorruptError):
        sanstream.open(url).recordings["bed1"].streams["100hz"].read()
    objects.put(shard, data)
    objects.remove(["bed1/manifest.json"])
    assert verify(url)
    with pytest.raises(CorruptError, match=r"bed1/manifest\.json is missing"):
        sanstream.open(url).recordings["bed1"]


def test_conditional_writes(url: str) -> None:
    objects = RemoteObjects(url)
    objects.make("x", b"1")
    objects.make("x", b"1")  # an answer that was lost
    with pytest.raises(Taken):
        objects.make("x", b"2")
    _, version = objects.read_version("x")
    objects.swap("x", b"3", version)
    with pytest.raises(Taken):
        objects.swap("x", b"4", version)
    assert objects.read("x") == b"3"


def test_arrays_open_with_zarr_alone(url: str) -> None:
    import zarr
    from obstore.store import from_url
    from zarr.storage import ObjectStore

    write(url, PATIENT)
    store = ObjectStore(from_url(f"{url}/bed1/100hz/0", client_options={"allow_http": True}), read_only=True)
    array = zarr.open_array(store, mode="r")
    assert np.array_equal(array[:], PATIENT.streams[0].segments[0].samples)


def test_memory_holds_an_archive_as_long_as_the_process() -> None:
    write("memory://one", tiny())
    assert_same(sanstream.open("memory://one").recordings["t"].read(), tiny())
    with pytest.raises(InputError, match="no archive stands here"):
        list(sanstream.open("memory://two").recordings)


NO_ADDRESSES = (
    """127.0.0.1:5666 localhost nonsense http:// http://a\tb http://h:x http://a%20b http://300.1.1.1:9""".split(" ")
)


@pytest.mark.parametrize("endpoint", NO_ADDRESSES)
def test_an_endpoint_that_is_no_address_is_named(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, endpoint: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    for words in (("info", f"s3://{BUCKET}/a"), ("reencode", tmp_path, "--to", f"s3://{BUCKET}/a")):
        ended = run(*words)
        assert ended.code == 2
        assert "Traceback" not in ended.err
    assert f"AWS_ENDPOINT_URL is {endpoint!r}" in run("info", f"s3://{BUCKET}/a").err


@pytest.mark.parametrize(
    ("name", "address"), [("AWS_ENDPOINT_URL_S3", f"s3://{BUCKET}/a"), ("GOOGLE_BASE_URL", "gs://ward/a")]
)
def test_every_variable_that_holds_an_endpoint_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, name: str, address: str
) -> None:
    monkeypatch.setenv(name, "127.0.0.1:5666")
    with pytest.raises(InputError, match=f"{name} is '127.0.0.1:5666'"):
        RemoteObjects(address)
    monkeypatch.setenv(name, "user:secret@127.0.0.1:5666")
    with pytest.raises(InputError, match=f"{name} is one with a password"):
        RemoteObjects(address)
    RemoteObjects("memory://x")  # others are none of its business
    for good in ("http://127.0.0.1:1", "HTTP://minio_1:9000/base", "https://[::1]:9", "https://s3.example.org"):
        monkeypatch.setenv(name, good)
        RemoteObjects(address)


def test_a_panic_of_the_stores_client_is_an_error_of_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    import obstore

    class PanicException(BaseException):
        pass

    def panics(*_: object, **__: object) -> None:
        raise PanicException("request valid: InvalidUri")

    for verb in ("get", "put"):
        monkeypatch.setattr(obstore, verb, panics)
    with pytest.raises(StoreError, match=r"cannot be read .*; check the address, and of S3 AWS_REGION"):
        RemoteObjects(f"s3://{BUCKET}/a").read("x")
    with pytest.raises(StoreError, match="cannot be written"):
        RemoteObjects(f"s3://{BUCKET}/a").put("x", b"")


def test_a_403_says_what_to_check(monkeypatch: pytest.MonkeyPatch) -> None:
    import obstore
    from obstore.exceptions import GenericError

    def refuses(*_: object) -> None:
        raise GenericError("Server returned non-2xx status code: 403 Forbidden: <Error/>")

    monkeypatch.setattr(obstore, "get", refuses)
    with pytest.raises(StoreError, match=r"answered 403.*; check the credentials.*rights in this bucket"):
        RemoteObjects(f"s3://{BUCKET}/a").read("x")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("s3://", "not the address"),
        ("s3://u:secret@b/x", "not the address"),
        ("s3://u:secret@[/x", "not an address"),
    ],
)
def test_addresses_that_are_none(address: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        sanstream.open(address)
    assert "secret" not in str(caught.value)
    with pytest.raises(UnsupportedError, match="ftp:// are not supported"):
        sanstream.open("ftp://host/a")


def test_every_command_takes_an_address(run: Run, url: str, tmp_path: Path) -> None:
    source = tmp_path / "x.npy"
    np.save(source, np.arange(6000, dtype=np.int32)[:, None] % 900)
    assert run("archive", source, "--rate", "100", "--to", url, "--quality", "prdn=5").code == 0
    assert run("verify", url, "--deep").code == 0
    assert json.loads(run("info", url, "--json").out)["recordings"][0]["name"] == "x"
    assert run("records", url, "--to", tmp_path / "r.parquet").code == 0
    assert run("restore", url, "--to", tmp_path / "out", "--format", "wfdb").code == 0
    assert run("banks", "install", url, "--to", tmp_path / "banks").code == 0
    assert list((tmp_path / "banks").iterdir())
    refused = run("restore", url, "--to", f"{url}.out")
    assert (refused.code, "give a local path" in refused.err) == (2, True)
    assert run("archive", source, "--rate", "100", "--to", url).code == 2
    assert run("restore", f"{url}.none", "--to", tmp_path / "out2").code == 2
