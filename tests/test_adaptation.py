"""Adaptation: new streams adapt, alarms retrain, limits and pins hold, and a restart goes on with what was adopted."""

from __future__ import annotations

import contextlib
import json
import os
import signal as signals
import stat
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from drift_cases import KEY, Bed, StubTraining, changed, own_kernels, signal, stretches

import sanstream
from sanstream.bank import named_banks
from sanstream.cli import root
from sanstream.config import RetrainSettings
from sanstream.daemon.adaptation import Adaptation
from sanstream.daemon.audit import Audit
from sanstream.daemon.pins import pin, read_pins, rollback
from sanstream.daemon.training import ProcessTraining
from sanstream.drift import Alarm
from sanstream.drift_series import Shift
from sanstream.durable import Disk, DiskFull
from sanstream.encode_kernels import KernelChoice
from sanstream.encode_live import LiveStart
from sanstream.errors import BankError, InputError
from sanstream.reservoir import Reservoir
from sanstream.retrain_job import channels_tag, make_job, pack_kernels

NAME = "bed1/250hz"


def kernels(job: Mapping[str, Any], number: int) -> KernelChoice:
    """Some kernels, others for every number."""
    found = own_kernels(number % 2)
    return found if job["n_members"] in (0, len(found.shifts)) else pytest.fail("another group")


def adopting(job: Mapping[str, Any]) -> dict[str, Any]:
    choice = kernels(job, int(bool(job["kernels"])))
    figures = {"champion_bits": 2.0, "challenger_bits": 1.0, "saved_share": 0.5}
    return {
        "adopt": True, "reason": "repays", "figures": figures, "bank": job["bank"], "kernels": pack_kernels(choice),
        "n_members": len(choice.shifts),
    }  # fmt: skip


def keeping(job: Mapping[str, Any]) -> dict[str, Any]:
    return adopting(job) | {"adopt": False, "reason": "saves too little"}


def decisions(bed: Bed) -> list[tuple[str, str]]:
    return [(row["decision"], row["why"]) for row in bed.adaptation.audit.rows()]


def start(bed: Bed) -> LiveStart:
    return bed.adaptation.start_for(KEY, bed.signal.channels, bed.signal.rate, bed.qualities)


def test_a_stream_adapts_within_minutes_and_again_when_its_beats_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sanstream.retrain.KERNEL_SECONDS", (0.8,))
    bed = Bed(tmp_path, changed(0, 1800, "left bundle block"))
    first = bed.run(8)
    assert [(a.key, a.reason) for a in first] == [(KEY, "repays")]
    assert bed.minute - 8 + 4 <= 5
    assert bed.plan is not None
    assert bed.plan.kernels is not None
    assert sum(bed.bits[-2:]) < 0.9 * sum(bed.bits[:2])
    assert bed.run(22) == []
    assert bed.state["drift"] == "quiet"
    second = bed.run(12)
    assert [a.reason for a in second] == ["repays"]
    assert bed.state["alarms"] == 1
    assert bed.state["retrained"] == 2
    saved = second[0].figures["saved_share"]
    assert saved >= 0.15
    assert decisions(bed) == [("adopted", "new"), ("adopted", "alarm")]
    row = bed.adaptation.audit.rows()[-1]
    assert row["figures"]["saved_share"] == saved
    assert row["alarm"]["figure"].startswith(("phi", "bits"))
    assert set(row["kernels"]) == {k.uid for k in start(bed).kernels.leading().kernels}  # type: ignore[union-attr]


def test_a_restart_goes_on_with_adopted_kernels(tmp_path: Path) -> None:
    bed = Bed(tmp_path, signal(0, restless=False), training=StubTraining(adopting))
    assert len(bed.run(5)) == 1
    bed.run(3)
    adopted, phi = pack_kernels(start(bed).kernels), bed.state["phi"]
    bed.adaptation.close()
    bed.open()
    assert pack_kernels(start(bed).kernels) == adopted != ""
    assert bed.state["phi"] == pytest.approx(phi, abs=1e-4)
    assert bed.run(5) == []
    assert bed.plan is not None
    assert pack_kernels(bed.plan.kernels) == adopted
    assert bed.state["retrained"] == 1


def test_a_crash_keeps_adopted_kernels_too(tmp_path: Path) -> None:
    bed = Bed(tmp_path, signal(0, restless=False), training=StubTraining(adopting))
    assert len(bed.run(5)) == 1
    adopted = pack_kernels(start(bed).kernels)
    bed.open()  # nothing was closed
    assert pack_kernels(start(bed).kernels) == adopted != ""


class _Dies(Disk):
    def __init__(self, point: str) -> None:
        self.point = point

    def reach(self, point: str) -> None:
        if point == self.point:
            raise KeyboardInterrupt


def test_death_between_audit_row_and_state_costs_only_the_decision(tmp_path: Path) -> None:
    bed = Bed(tmp_path, signal(0, restless=False), training=StubTraining(adopting), disk=_Dies("retrain.adopted"))
    with pytest.raises(KeyboardInterrupt):
        bed.run(5)
    assert decisions(bed) == [("adopted", "new")]
    bed.disk = Disk()
    bed.open()
    assert start(bed).kernels is None
    assert len(bed.run(3)) == 1
    assert start(bed).kernels is not None


def test_shadow_decides_and_does_not_adopt(tmp_path: Path) -> None:
    bed = Bed(tmp_path, signal(0, restless=False), training=StubTraining(adopting), mode="shadow")
    assert bed.run(7) == []
    assert decisions(bed) == [("shadow", "new")]
    assert start(bed).kernels is None
    assert bed.state["retrained"] == 0
    assert bed.adaptation.news() == [(KEY, "retraining", "shadow")]


def test_off_keeps_nothing_and_trains_nothing(tmp_path: Path) -> None:
    stub = StubTraining(adopting)
    bed = Bed(tmp_path, signal(0, restless=False), training=stub, mode="off")
    assert bed.run(6) == []
    assert stub.jobs == []
    assert bed.adaptation.reservoir.size_bytes == 0
    assert bed.state["drift"] == "off"


def alarm(bed: Bed) -> None:
    """Make the stream want a challenge, as an alarm does."""
    from sanstream.daemon.adaptation_stream import ALARM, Wanted

    stream = bed.adaptation._streams[KEY]
    stream.wanted = Wanted(ALARM, stream.now_ns - 600 * 10**9)


def test_cool_down_starts_with_the_second_adoption(tmp_path: Path) -> None:
    bed = Bed(tmp_path, signal(0, restless=False), training=StubTraining(adopting), cooldown_s=600.0)
    assert len(bed.run(4)) == 1
    alarm(bed)
    assert len(bed.run(2)) == 1
    alarm(bed)
    assert bed.run(8) == []
    assert bed.state["drift"] == "cooling"
    stream = bed.adaptation._streams[KEY]
    assert stream.wanted is not None
    stream.wanted = replace(stream.wanted, alarm=Alarm(1, "phi 0", Shift(0.1, 0.2, 4.0)))
    assert bed.state["drift"] == "alarmed", "an alarm that waits is not hidden"
    assert len(bed.run(5)) == 1


def test_at_most_so_many_adoptions_a_day(tmp_path: Path) -> None:
    bed = Bed(tmp_path, signal(0, restless=False), training=StubTraining(adopting), cooldown_s=0.0, max_per_day=2)
    assert len(bed.run(4)) == 1
    for count in (1, 0, 0):
        alarm(bed)
        assert len(bed.run(3)) == count
    assert decisions(bed) == [("adopted", "new"), ("adopted", "alarm")]


def test_a_challenge_that_fails_is_an_audit_row_and_is_tried_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sanstream.daemon.adaptation_stream._RETRY_NS", 600 * 10**9)
    results = [{"failed": "the training process died"}]
    stub = StubTraining(lambda job: results.pop() if results else keeping(job))
    bed = Bed(tmp_path, signal(0, restless=False), training=stub)
    assert bed.run(18) == []
    assert decisions(bed) == [("failed", "new"), ("kept", "new")]
    assert bed.adaptation.audit.rows()[0]["reason"] == "the training process died"


def test_a_result_that_comes_after_an_alarm_is_stale(tmp_path: Path) -> None:
    held: list[int] = []
    stub = StubTraining(lambda job: adopting(job) if held else None)
    bed = Bed(tmp_path, signal(0, restless=False), training=stub)
    bed.run(5)
    assert bed.state["drift"] == "training"
    alarm(bed)
    held.append(1)
    assert len(bed.run(2)) == 1
    assert decisions(bed) == [("stale", "new"), ("adopted", "alarm")]


def test_other_channels_start_from_the_shipped_bank(tmp_path: Path) -> None:
    bed = Bed(tmp_path, signal(0, restless=False), training=StubTraining(adopting))
    bed.run(5)
    assert start(bed).kernels is not None
    swapped = bed.signal.channels[::-1]
    assert bed.adaptation.start_for(KEY, swapped, bed.signal.rate, bed.qualities).kernels is None


def test_leads_off_and_flat_lines_are_neither_kept_nor_trained_on(tmp_path: Path) -> None:
    bed = Bed(tmp_path, signal(0, restless=False), training=StubTraining(adopting))
    flat = bed.signal.samples
    bed.signal.samples = lambda a, n: 0 * flat(a, n) + 1024  # type: ignore[method-assign]
    try:
        assert bed.run(10) == []
    finally:
        del bed.signal.samples  # type: ignore[method-assign]
    assert bed.adaptation.reservoir.size_bytes == 0
    assert decisions(bed) == []
    assert bed.state["phi"] is None


def test_the_engine_opens_a_segment_with_adopted_kernels_and_the_archive_is_equal(tmp_path: Path) -> None:
    from live_cases import Ward, feed_seconds

    found = signal(0, restless=False)
    ward = Ward(tmp_path, quality={"default": "lossless"})
    adaptation = Adaptation(
        RetrainSettings(warm_up_s=180.0), tmp_path / "state", Disk(), ward.clock, inline=True,
        training=StubTraining(adopting),
    )  # fmt: skip
    ward.engine.adapting._adaptation = adaptation
    x = found.samples(0, 480)
    feed_seconds(ward, x, step=250 * 20, channels=found.channels)
    state = adaptation.state(KEY)
    ward.stop()
    assert np.array_equal(ward.read(), x)
    manifest = ward.engine.archive.manifest("bed1")
    assert manifest is not None
    first, second = manifest.streams[0].segments
    assert (first.flags, second.flags) == ((), ("bank",))
    assert state["retrained"] == 1
    assert ward.engine.telemetry.retrainings.labels("adopted")._value.get() == 1
    assert sanstream.open(ward.url).verify(deep=True) == []


def test_a_segments_short_end_is_not_looked_at_and_ends_no_watch(tmp_path: Path) -> None:
    bed = Bed(tmp_path, signal(0, restless=False), training=StubTraining(adopting))
    bed.run(1)
    bed.adaptation.observe(KEY, bed.block(bed.signal.samples(60.0, 60)[:100], 8000))
    assert len(bed.run(5)) == 1
    assert bed.state["alarms"] == 0


# --- pins


def pinned_bed(tmp_path: Path) -> Bed:
    bed = Bed(tmp_path, signal(0, restless=False), training=StubTraining(adopting))
    assert len(bed.run(5)) == 1
    return bed


def test_a_pinned_stream_is_not_retrained_until_the_pin_is_lifted(tmp_path: Path) -> None:
    bed = pinned_bed(tmp_path)
    assert pin(tmp_path, NAME, "current") == "current"
    bed.run(1)
    assert bed.state["drift"] == "pinned"
    alarm(bed)
    assert bed.run(3) == []
    pin(tmp_path, NAME, "auto")
    assert len(bed.run(3)) == 1
    assert [d for d, _ in decisions(bed)] == ["adopted", "pinned", "unpinned", "adopted"]


def test_a_pin_to_a_bank_opens_a_segment_with_it(tmp_path: Path) -> None:
    bed, bank = pinned_bed(tmp_path), named_banks()["general"]
    assert pin(tmp_path, NAME, "general") == bank.id
    assert [a.reason for a in bed.run(1)] == ["pinned"]
    assert start(bed).bank.id == bank.id
    assert start(bed).kernels is None
    bed.open()
    assert start(bed).bank.id == bank.id


def test_rollback_goes_back_one_step_and_a_daemon_that_was_down_obeys(tmp_path: Path) -> None:
    bed = pinned_bed(tmp_path)
    bed.adaptation.close()
    rollback(tmp_path, NAME)
    bed.open()
    assert [a.reason for a in bed.run(1)] == ["rolled back"]
    assert start(bed).kernels is None
    assert bed.run(1) == []
    bed.adaptation.close()
    with pytest.raises(InputError, match="nothing to roll back to"):
        rollback(tmp_path, NAME)


def test_the_commands_pin_and_roll_back(tmp_path: Path) -> None:
    bed = pinned_bed(tmp_path)
    bed.adaptation.close()
    done = CliRunner().invoke(root, ["banks", "pin", str(tmp_path), NAME, "--bank", "ecg"])
    assert done.exit_code == 0
    assert read_pins(tmp_path).banks == {NAME: named_banks()["ecg"].id}
    assert CliRunner().invoke(root, ["banks", "rollback", str(tmp_path), NAME]).exit_code == 0
    assert read_pins(tmp_path).rollbacks == {NAME: 1}
    assert stat.S_IMODE((tmp_path / "pins.json").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("name", "bank", "error", "match"),
    [
        ("bed1", "ecg", InputError, "names no stream.*write RECORDING/STREAM"),
        ("bed1/500hz", "ecg", InputError, "no stream.*it knows bed1/250hz"),
        ("bed9/250hz", "ecg", InputError, "has been seen.*sanstream status"),
        (NAME, "nonesuch", BankError, "there is no bank 'nonesuch'"),
    ],
)
def test_a_pin_that_cannot_be_says_why(
    tmp_path: Path, name: str, bank: str, error: type[Exception], match: str
) -> None:
    pinned_bed(tmp_path).adaptation.close()
    with pytest.raises(error, match=match):
        pin(tmp_path, name, bank)


# --- what is kept


def test_a_forgotten_recording_leaves_nothing(tmp_path: Path) -> None:
    bed = pinned_bed(tmp_path)
    assert bed.adaptation.forget("bed1") > 0
    bed.adaptation.close()
    left = [p for p in tmp_path.rglob("*") if p.is_file() and b"bed1" in p.read_bytes()]
    assert left == []
    assert not [p for p in tmp_path.rglob("*") if "bed1" in p.name]


def test_retention_reaches_reservoir_and_ended_streams(tmp_path: Path) -> None:
    bed = pinned_bed(tmp_path)
    assert bed.adaptation.retain(bed.now_ns - 120 * 10**9) == 3
    assert start(bed).kernels is not None
    bed.adaptation.retain(bed.now_ns + 1)
    assert start(bed).kernels is None


def test_damaged_state_is_begun_anew(tmp_path: Path) -> None:
    pinned_bed(tmp_path).adaptation.close()
    for name in ("adaptation.json", "drift.json", "pins.json"):
        (tmp_path / name).write_bytes(b'{"streams": {"bed1/250hz": {"tag": ')
    bed = Bed(tmp_path, signal(0, restless=False), training=StubTraining(adopting))
    assert start(bed).kernels is None
    assert len(bed.run(4)) == 1


def test_audit_rows_are_bounded_and_a_cut_row_costs_only_itself(tmp_path: Path) -> None:
    audit = Audit(tmp_path, Disk(), max_bytes=2000)
    for i in range(200):
        audit.write({"i": i, "recording": f"bed{i % 2}"})
        assert sum(p.stat().st_size for p in tmp_path.iterdir()) <= 4000
    assert [r["i"] for r in audit.rows()] == list(range(200 - len(audit.rows()), 200))
    audit.close()
    with audit.path.open("ab") as file:
        file.write(b'{"i": 20')
    again = Audit(tmp_path, Disk())
    again.write({"i": 200, "recording": "bed0"})
    assert [r["i"] for r in again.rows()][-2:] == [199, 200]
    again.keep(lambda row: row["recording"] == "bed0")
    assert {r["recording"] for r in again.rows()} == {"bed0"}
    assert stat.S_IMODE(audit.path.stat().st_mode) == 0o600


def test_a_full_disk_costs_rows_and_not_the_daemon(tmp_path: Path) -> None:
    class Full(Disk):
        def append(self, file: Any, data: Any) -> None:
            raise DiskFull("audit.jsonl")

    bed = Bed(tmp_path, signal(0, restless=False), training=StubTraining(adopting), disk=Full())
    assert len(bed.run(5)) == 1
    assert start(bed).kernels is not None


# --- the training process


def wait(training: ProcessTraining, seconds: float = 200) -> Mapping[str, Any]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = training.result()
        if found is not None:
            return found
        time.sleep(0.05)
    raise AssertionError("no result")


def job_for(tmp_path: Path) -> dict[str, Any]:
    found = signal(0, restless=False)
    tag = channels_tag(found.channels, found.rate)
    reservoir = Reservoir(tmp_path / "reservoir")
    for s in stretches(found, 600, 3, tag):
        reservoir.put(KEY, s)
    bed = Bed(tmp_path, found, training=StubTraining(keeping))
    return make_job(
        reservoir.folder, KEY, 0, channels=found.channels, rate=found.rate, qualities=bed.qualities, effort="fast",
        start=LiveStart(named_banks()["ecg"]), delta=b"",
    )  # fmt: skip


def test_the_training_process_is_polite_answers_and_survives_a_bad_job(tmp_path: Path) -> None:
    training = ProcessTraining()
    try:
        training.begin({"nonsense": 1})
        assert training.busy
        pid = training.pid
        assert pid is not None
        end = time.monotonic() + 60
        while os.getpriority(os.PRIO_PROCESS, pid) != 19 and time.monotonic() < end:
            time.sleep(0.02)
        assert os.getpriority(os.PRIO_PROCESS, pid) == 19
        with contextlib.suppress(PermissionError):  # so polite that it would starve beside other tests
            os.setpriority(os.PRIO_PROCESS, pid, 0)
        assert wait(training) == {"failed": "KeyError"}
        limits = Path(f"/proc/{pid}/limits").read_text(encoding="utf-8")
        assert next(line for line in limits.splitlines() if line.startswith("Max data size")).split()[3] == str(3 << 30)
        training.begin(job_for(tmp_path))
        assert wait(training)["adopt"] is True
        assert training.pid == pid
        assert not training.busy
    finally:
        training.close()
    assert training.pid is None


def test_a_killed_training_process_is_a_failed_challenge(tmp_path: Path) -> None:
    training = ProcessTraining()
    training.begin(job_for(tmp_path))
    assert training.pid is not None
    os.kill(training.pid, signals.SIGKILL)
    assert wait(training) == {"failed": "the training process died"}
    assert not training.busy


def test_the_training_process_dies_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import sys, time; from sanstream.daemon.training import ProcessTraining\n"
        "t = ProcessTraining(); t.begin({}); print(t.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    end = time.monotonic() + 30
    while time.monotonic() < end and _alive(child):
        time.sleep(0.05)
    assert not _alive(child)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_state_is_json_and_private(tmp_path: Path) -> None:
    bed = pinned_bed(tmp_path)
    bed.adaptation.close()
    for name in ("adaptation.json", "drift.json"):
        assert json.loads((tmp_path / name).read_bytes())
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
