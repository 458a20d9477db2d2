"""Re-encoding: bounds against the original, bytes that are only moved, resuming, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from archive_cases import patient, write
from conftest import Run
from reencode_cases import MISSING, RATE, Inline, files, make, one, read, signal, worst_prdn

import sanstream
from sanstream import reencode_jobs
from sanstream.archive import ArchiveWriter, verify
from sanstream.archive_draft_remote import RemoteDraft
from sanstream.errors import CorruptError, InputError
from sanstream.evaluate import evaluate
from sanstream.reencode import reencode
from sanstream.reencode_store import checkpoints_of
from sanstream.transfer import convert

usesinline = pytest.mark.usefixtures("inline")


@usesinline
@pytest.mark.parametrize("quality", ["lossless", "prdn=5", "rmse=3adu", "max-error=4adu", "sparse"])
def test_from_lossless_any_quality(tmp_path: Path, quality: str) -> None:
    recording = one(signal(150))
    make(tmp_path / "a.san", recording)
    done = reencode(tmp_path / "a.san", to=tmp_path / "b.san", quality=quality, effort="default")
    assert done["segments"]["moved"] == 0 or quality == "lossless"
    assert verify(tmp_path / "b.san", deep=True) == []
    report = evaluate(recording, tmp_path / "b.san")
    assert report.broken == ()
    assert sanstream.open(tmp_path / "b.san").info()["recordings"][0]["streams"][0]["channels"][0]["quality"] == quality


@usesinline
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("prdn=2", "prdn=9"),
        ("prdn=5", "prdn=9"),
        ("prdn=5", "prdn=5.5"),
        ("max-error=2adu", "max-error=9adu"),
        ("rmse=1adu", "rmse=8adu"),
        ("prdn=1", "rmse=12adu"),
        ("max-error=2adu", "prdn=20"),
    ],
)
@pytest.mark.parametrize("effort", ["fast", "default"])
def test_errors_add_up_to_the_bound_against_the_original(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, second: str, effort: str
) -> None:
    recording = one(signal(150))
    make(tmp_path / "a.san", recording, quality=[first])
    monkeypatch.setattr("sanstream.reencode_assemble._gains_nothing", lambda *a: False)
    done = reencode(tmp_path / "a.san", to=tmp_path / "b.san", quality=second, effort=effort)
    assert done["segments"]["moved"] == 0
    assert verify(tmp_path / "b.san", deep=True) == []
    assert evaluate(recording, tmp_path / "b.san").broken == ()
    # what the target says of the original is true, and no worse than what was asked
    x, z = recording.streams[0].segments[0].samples, read(tmp_path / "b.san")
    (entry,) = sanstream.open(tmp_path / "b.san").recordings["bed"].streams[f"{RATE}hz"].entry.segments
    for c, (ratio, rmse, worst) in enumerate(entry.original):
        assert worst >= np.abs(x[:, c] - z[:, c]).max()
        windows = (x[:, c] - z[:, c]).reshape(-1, 10 * RATE).astype(float)
        assert rmse >= np.sqrt((windows**2).mean(axis=1)).max()
        assert ratio is None or ratio >= worst_prdn(x[:, [c]], z[:, [c]])
        kind, _, value = second.partition("=")
        said = {"prdn": ratio, "rmse": rmse, "max-error": worst}[kind]
        assert said is not None
        assert said <= float(value.removesuffix("adu"))


@usesinline
def test_what_would_not_get_smaller_is_carried_over(tmp_path: Path) -> None:
    """From 5 % the errors leave 3.6 % of room, which takes more bytes than the 5 % that are there."""
    recording = one(signal(150))
    make(tmp_path / "a.san", recording, quality=["prdn=5"], effort="default")
    done = reencode(tmp_path / "a.san", to=tmp_path / "b.san", quality="prdn=9", effort="fast")
    assert done["segments"] == {"encoded": 0, "moved": 1}
    assert done["carried"] == {"lossy": 0, "no_smaller": 1}
    parent = sanstream.open(tmp_path / "b.san").info()["recordings"][0]["parent"]
    assert (parent["quality"], parent["effort"], parent["bank"]) == (["prdn=9"], None, None)
    assert np.array_equal(read(tmp_path / "a.san"), read(tmp_path / "b.san"))
    assert worst_prdn(recording.streams[0].segments[0].samples, read(tmp_path / "b.san")) <= 9


@usesinline
def test_the_bound_would_break_if_errors_did_not_add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the allowance the same signal misses its bound: the test above can fail."""
    recording = one(signal(150))
    make(tmp_path / "a.san", recording, quality=["max-error=6adu"])
    monkeypatch.setattr("sanstream.reencode_jobs.lost_before", lambda *a: None)
    reencode(tmp_path / "a.san", to=tmp_path / "b.san", quality="max-error=9adu")
    assert evaluate(recording, tmp_path / "b.san").broken


@usesinline
def test_a_third_generation_keeps_the_bound_of_the_first(run: Run, tmp_path: Path) -> None:
    recording = one(signal(150))
    make(tmp_path / "a.san", recording, quality=["prdn=1"])
    reencode(tmp_path / "a.san", to=tmp_path / "b.san", quality="prdn=4")
    reencode(tmp_path / "b.san", to=tmp_path / "c.san", quality="prdn=12")
    assert evaluate(recording, tmp_path / "c.san").broken == ()
    parent = sanstream.open(tmp_path / "c.san").info()["recordings"][0]["parent"]
    assert (parent["quality"], parent["parent"]["quality"]) == (["prdn=12"], ["prdn=4"])
    assert parent["manifest"] == sanstream.open(tmp_path / "b.san").recordings["bed"].manifest.digest
    assert parent["sanstream"] == sanstream.__version__
    lines = run("info", tmp_path / "c.san").out.splitlines()
    assert (
        f"made by sanstream {sanstream.__version__} from manifest {parent['manifest'][:16]}; quality prdn=12"
        in lines[-3]
    )
    assert lines[-1].startswith("100hz lead1, every window against the original: at most prdn ")


@usesinline
@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("prdn=5", "lossless", "lossless asked, it holds prdn=5, off by up to"),
        ("prdn=5", "prdn=2", "prdn=2 asked, it holds prdn=5, and has lost"),
        ("rmse=3adu", "max-error=1adu", "max-error=1adu asked, it holds rmse=3adu, and has lost"),
        ("prdn=5", "bits=0.5", "a mean rate says no bound"),
        ("sparse", "prdn=1", "it holds sparse"),
        ("prdn=9", "rmse=13adu", "adu too much"),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_numbers(
    run: Run, tmp_path: Path, first: str, second: str, said: str
) -> None:
    make(tmp_path / "a.san", one(signal(150)), quality=[first])
    ended = run("reencode", tmp_path / "a.san", "--to", tmp_path / "b.san", "--quality", second)
    assert ended.code == 2
    assert said in ended.err
    assert "bed/100hz/0" in ended.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.san"], "nothing is left behind"


@pytest.mark.parametrize(
    ("to", "more", "message"),
    [
        ("b", {"shard_s": float("nan")}, "objects of nan s; give --shard more than 0"),
        ("b", {"shard_s": -5.0}, "objects of -5 s"),
        ("b", {"shard_s": 0.0}, "objects of 0 s"),
        ("b", {"dask": "nonsense"}, "'nonsense' is no address of a Dask scheduler; write it as tcp://HOST:PORT"),
        ("a", {}, "is the source itself"),
        ("a/x", {}, "lies in the source"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(tmp_path: Path, to: str, more: dict[str, Any], message: str) -> None:
    write(tmp_path / "a", [patient()])
    with pytest.raises(InputError, match=message):
        reencode(tmp_path / "a", to=tmp_path / to, quality="prdn=5", **more)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a"]
    assert not (tmp_path / "a" / "x").exists()


@pytest.mark.parametrize("how", ["reencode", "convert"])
def test_a_changed_bit_is_not_carried_on_under_a_new_checksum(tmp_path: Path, how: str) -> None:
    write(tmp_path / "a", [patient()])
    (shard,) = (tmp_path / "a" / "bed1" / "100hz" / "0" / "c" / "0").glob("*")
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(CorruptError, match=r"segment [0-9a-f]{16}, block \d+"):
        if how == "reencode":
            reencode(tmp_path / "a", to=tmp_path / "b", container="parquet")
        else:
            convert(tmp_path / "a", to=tmp_path / "b", container="parquet")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("quality", ["lossless", "prdn=5"])
@pytest.mark.parametrize("asked", [(), ("same",)])
def test_the_same_quality_moves_bytes_and_decodes_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quality: str, asked: tuple[str, ...]
) -> None:
    make(tmp_path / "a.san", one(signal(150)), quality=[quality])
    whole = read(tmp_path / "a.san")

    def never(*arguments: object) -> None:
        raise AssertionError("a block was decoded")

    with monkeypatch.context() as patch:
        for module in ("archive_read", "archive_reached", "reencode_bounds", "reencode_jobs"):
            verb = "decode_blocks" if module == "archive_read" else "decode_block"
            patch.setattr(f"sanstream.{module}.{verb}", never)
        words = ["--quality", quality] if asked else []
        for container, source, target in (("parquet", "a", "b"), ("zarr", "b", "c")):
            ended = run(
                *("reencode", tmp_path / f"{source}.san", "--to", tmp_path / f"{target}.san"),
                *("--container", container, "--shard", "60", *words),
            )
            assert ended.code == 0, ended.err
            assert "0 encoded, 1 carried over" in ended.err
    for name in "bc":
        assert np.array_equal(read(tmp_path / f"{name}.san"), whole)
        assert verify(tmp_path / f"{name}.san", deep=True) == []
    assert len(list((tmp_path / "c.san").rglob("c/*/0"))) == 3, "shards of a minute"


@usesinline
def test_a_worker_that_lives_long_goes_by_no_older_manifest(tmp_path: Path) -> None:
    """The jobs run in this process: it has seen another archive under the same name."""
    for seed in (1, 2):
        shutil.rmtree(tmp_path / "a.san", ignore_errors=True)
        recording = one(signal(60, seed=seed))
        make(tmp_path / "a.san", recording)
        reencode(tmp_path / "a.san", to=tmp_path / f"{seed}.san", effort="default")
        assert np.array_equal(read(tmp_path / f"{seed}.san"), recording.streams[0].segments[0].samples)


@usesinline
def test_a_lossy_segment_is_not_encoded_anew_at_its_own_bound(tmp_path: Path) -> None:
    make(tmp_path / "a.san", one(signal(150)), quality=["prdn=5"])
    done = reencode(tmp_path / "a.san", to=tmp_path / "b.san", effort="default")
    assert done["segments"] == {"encoded": 0, "moved": 1}
    assert np.array_equal(read(tmp_path / "a.san"), read(tmp_path / "b.san"))


@usesinline
def test_channels_that_none_names_keep_their_quality(tmp_path: Path) -> None:
    recording = one(signal(150))
    make(tmp_path / "a.san", recording)
    reencode(tmp_path / "a.san", to=tmp_path / "b.san", quality="lead1=prdn=5")
    found = sanstream.open(tmp_path / "b.san").info()["recordings"][0]["streams"][0]["channels"]
    assert [c["quality"] for c in found] == ["lossless", "prdn=5"]
    assert np.array_equal(read(tmp_path / "b.san")[:, 0], recording.streams[0].segments[0].samples[:, 0])


@usesinline
@pytest.mark.parametrize("container", ["zarr", "parquet"])
def test_the_same_bytes_whether_cut_off_or_not(
    tmp_path: Path,
    inline: type[Inline],
    monkeypatch: pytest.MonkeyPatch,
    container: str,
) -> None:
    """Jobs are cut off after any block, or between any two; what stands is used, and the end is the same."""
    monkeypatch.setitem(__import__("sanstream.reencode_jobs").reencode_jobs._JOB_VALUES, "default", 3 * 60 * RATE * 2)
    make(tmp_path / "a.san", one(signal(700), at=(0, 40_000)), one(signal(200, seed=3), "bed2"))
    options = {"quality": "prdn=5", "effort": "default", "container": container}
    reencode(tmp_path / "a.san", to=tmp_path / "whole.san", **options)
    n_jobs = len(inline.ran)
    import sanstream.reencode_jobs as jobs

    blocks: list[tuple[str, int]] = []
    encode = jobs._block

    def cut(work: jobs.Work, kept: jobs.KeptPlan, number: int) -> object:
        if len(blocks) % 3 == 2:
            blocks.append(("", -1))
            raise KeyboardInterrupt
        blocks.append((work.target.where, number))
        return encode(work, kept, number)

    monkeypatch.setattr(jobs, "_block", cut)
    cuts = 0
    while not (tmp_path / "cut.san").exists():
        try:
            reencode(tmp_path / "a.san", to=tmp_path / "cut.san", **options)
        except KeyboardInterrupt:
            cuts += 1
    assert cuts > 3
    done = [b for b in blocks if b[0]]
    assert len(done) == len(set(done)) == 16, "no block is encoded twice"
    assert n_jobs > 6
    assert files(tmp_path / "cut.san") == files(tmp_path / "whole.san")
    assert not Path(checkpoints_of(tmp_path / "cut.san")).exists()


@usesinline
def test_a_checkpoint_that_was_torn_is_made_again(
    tmp_path: Path,
    inline: type[Inline],
) -> None:
    make(tmp_path / "a.san", one(signal(200)))
    reencode(tmp_path / "a.san", to=tmp_path / "whole.san", quality="prdn=5")
    import sanstream.reencode as module

    commit = module._commit
    module._commit = lambda *a: (_ for _ in ()).throw(KeyboardInterrupt)  # killed before the archive is written
    try:
        with pytest.raises(KeyboardInterrupt):
            reencode(tmp_path / "a.san", to=tmp_path / "b.san", quality="prdn=5")
    finally:
        module._commit = commit
    for path in Path(checkpoints_of(tmp_path / "b.san")).rglob("*"):
        if path.is_file() and path.parent.name != "banks":
            data = path.read_bytes()
            path.write_bytes(data[: len(data) // 2])
    reencode(tmp_path / "a.san", to=tmp_path / "b.san", quality="prdn=5")
    assert files(tmp_path / "b.san") == files(tmp_path / "whole.san")


@usesinline
def test_done_is_done_and_another_target_is_left_alone(
    run: Run,
    tmp_path: Path,
    inline: type[Inline],
) -> None:
    make(tmp_path / "a.san", one(signal(60)))
    words = ("reencode", tmp_path / "a.san", "--to", tmp_path / "b.san", "--quality")
    assert run(*words, "prdn=5").code == 0
    before, n = files(tmp_path / "b.san"), len(inline.ran)
    ended = run(*words, "prdn=5")
    assert (ended.code, len(inline.ran)) == (0, n)
    assert "is there already" in ended.err
    ended = run(*words, "prdn=9")
    assert ended.code == 2
    assert "another archive stands there" in ended.err
    assert files(tmp_path / "b.san") == before
    with ArchiveWriter(tmp_path / "a.san", append=True) as writer:
        writer.add(one(signal(20), "bed9"))
        writer.commit()
    ended = run(*words, "prdn=5")
    assert ended.code == 2
    assert "the source has changed since, or is another" in ended.err
    ended = run(*words, "prdn=6")
    assert ended.code == 2
    assert "another archive stands there" in ended.err, "another request, whatever came to the source"
    assert files(tmp_path / "b.san") == before


@usesinline
def test_what_is_carried_over_says_why_and_claims_no_effort(run: Run, tmp_path: Path) -> None:
    make(tmp_path / "a.san", one(signal(60)), quality=["prdn=5"])
    asked = ("--quality", "prdn=5", "--effort", "default", "--bank", "general")
    ended = run("reencode", tmp_path / "a.san", "--to", tmp_path / "b.san", *asked)
    assert ended.code == 0, ended.err
    assert "0 encoded, 1 carried over" in ended.err
    assert "carried over as they were: 1; they lost something before and nothing looser is asked" in ended.err
    assert "effort -, bank -" in run("info", tmp_path / "b.san").out
    ended = run("reencode", tmp_path / "a.san", "--to", tmp_path / "c.san", "--container", "parquet")
    assert "lost something" not in ended.err, "nothing else was asked"


@usesinline
def test_segments_of_a_day_become_one(tmp_path: Path) -> None:
    x = signal(400)
    x[10_000:14_000] = MISSING  # not in the archive at all: a gap between two segments
    recording = one(x, at=(0, 7_000, 21_000))
    (stream,) = recording.streams
    first, second, third = stream.segments
    from dataclasses import replace

    second = replace(second, samples=second.samples[:3_000])
    recording = replace(recording, streams=(replace(stream, segments=(first, second, third)),))
    make(tmp_path / "a.san", recording)
    x[10_000:21_000] = MISSING
    done = reencode(tmp_path / "a.san", to=tmp_path / "b.san", effort="default", join=True)
    assert done["segments"] == {"encoded": 1, "moved": 0}
    assert np.array_equal(read(tmp_path / "b.san"), x)
    assert verify(tmp_path / "b.san", deep=True) == []
    with sanstream.open(tmp_path / "b.san") as held:
        assert len(held.recordings["bed"].streams["100hz"].entry.segments) == 1


@usesinline
def test_a_long_segment_is_planned_from_parts_and_stays_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parts use every third integer, and the rest of the signal does not: no lattice may be believed in."""
    import sanstream.reencode_excerpt as module

    monkeypatch.setattr(module.excerpt, "__kwdefaults__", {"most": 2 * 60 * RATE * 5})
    for name, odd in (("lattice", False), ("none", True)):
        x = signal(900) * 3
        if odd:
            x[6_100] += 1  # in the second minute, which no run looks at
        make(tmp_path / f"{name}.san", one(x))
        entry = sanstream.open(tmp_path / f"{name}.san").recordings["bed"].streams["100hz"].entry.segments[0]
        done = reencode(tmp_path / f"{name}.san", to=tmp_path / f"{name}2.san", effort="default")
        assert done["segments"]["encoded"] == 1
        assert np.array_equal(read(tmp_path / f"{name}2.san"), x)
        new = sanstream.open(tmp_path / f"{name}2.san").recordings["bed"].streams["100hz"].entry.segments[0]
        assert new.coding.lattices == entry.coding.lattices
        assert (new.coding.digital_min, new.coding.digital_max) == (entry.coding.digital_min, entry.coding.digital_max)
        assert isinstance(new.coding.lattices[0], str) == odd, "steps of three, or a list with the odd one"


@usesinline
@pytest.mark.parametrize("bank", ["retrain", "ecg"])
def test_a_bank_is_kept_and_named(tmp_path: Path, bank: str) -> None:
    from sanstream.bank import named_banks

    make(tmp_path / "a.san", one(signal(150)))
    reencode(tmp_path / "a.san", to=tmp_path / "b.san", bank=bank)
    info = sanstream.open(tmp_path / "b.san").info()["recordings"][0]
    if bank == "ecg":
        assert info["streams"][0]["segments"][0]["bank"] == named_banks()["ecg"].id == info["parent"]["bank"]
    else:
        assert info["parent"]["bank"] == "retrain"
    assert verify(tmp_path / "b.san", deep=True) == []


@usesinline
def test_in_an_object_store_a_killed_run_is_taken_up_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while the archive is written: claim and objects stay, and only the same work may take them over."""
    from s3_server import BUCKET, s3_server, use_s3

    from sanstream.archive_store import RemoteObjects

    monkeypatch.setattr(RemoteDraft, "abort", lambda self: self._files.cleanup())  # no more does a killed process
    monkeypatch.setattr("sanstream.archive_claim.SAME_S", 1.0)
    recording = one(signal(150), at=(0, 9_000))
    with s3_server() as endpoint:
        use_s3(monkeypatch, endpoint)
        source, target = f"s3://{BUCKET}/a", f"s3://{BUCKET}/b"
        make(source, recording)
        made = reencode_jobs.job_done
        with monkeypatch.context() as patch:
            patch.setattr(
                "sanstream.reencode_assemble.job_done",
                lambda job, store: made(job, store) if not job.where.count("9000") else 1 / 0,
            )
            with pytest.raises(ZeroDivisionError):
                reencode(source, to=target, quality="max-error=4adu")
        assert list(RemoteObjects(target).keys()), "objects without a manifest"
        with pytest.raises(InputError, match="another process is writing to it"):
            reencode(source, to=target, quality="max-error=8adu")
        done = reencode(source, to=target, quality="max-error=4adu")
        assert done["segments"] == {"encoded": 2, "moved": 0}
        assert verify(target, deep=True) == []
        assert evaluate(recording, target).broken == ()
        assert list(RemoteObjects(checkpoints_of(target)).keys()) == []
        assert reencode(source, to=target, quality="max-error=4adu")["already"]


def test_without_dask_it_says_what_to_install(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sanstream.reencode_cluster.importlib.util.find_spec", lambda name: None)
    make(tmp_path / "a.san", one(signal(20)))
    ended = run("reencode", tmp_path / "a.san", "--to", tmp_path / "b.san", "--quality", "prdn=5")
    assert ended.code == 2
    assert "pip install 'sanstream[scale]'" in ended.err


def test_workers_and_dask_exclude_each_other(run: Run, tmp_path: Path) -> None:
    ended = run("reencode", "a", "--to", "b", "--workers", "2", "--dask", "tcp://x:1")
    assert ended.code == 2
    assert "give one of them" in ended.err


def test_joining_takes_encoding(run: Run, tmp_path: Path) -> None:
    ended = run("reencode", "a", "--to", "b", "--join")
    assert ended.code == 2
    assert "give --effort, too" in ended.err


def test_a_store_that_no_other_process_reaches_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "a.san", one(signal(20)))
    with pytest.raises(InputError, match="no other process can write there"):
        reencode(tmp_path / "a.san", to="memory://reencode", quality="prdn=5")
