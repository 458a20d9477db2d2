"""Power cuts while kernels are adopted: samples are safe whatever happens, a decision once it shows in the archive."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drift_cases import KEY, StubTraining, signal
from live_cases import RATE, Clock, Ward, chunk
from test_adaptation import adopting

import sanstream
from sanstream.config import RetrainSettings
from sanstream.daemon.adaptation import Adaptation
from sanstream.durable import Disk, using
from sanstream.durable_power import PowerCut

SECONDS, STEP = 420, 20


class Bed:
    """A ward with an adaptation that adopts what it is told to, and the messages that it was given."""

    def __init__(self, root: Path) -> None:
        self.root, self.clock, self.x = root, Clock(), signal(0, restless=False).samples(0, SECONDS)
        self.acknowledged: list[object] = []
        self.adopted: Callable[[], object] = lambda: None

    def live(self, disk: Disk) -> None:
        with using(disk):
            self.ward = Ward(self.root, self.clock, disk=disk)
            self.adaptation = Adaptation(
                RetrainSettings(warm_up_s=180.0), self.root / "state", disk, self.clock, inline=True,
                training=StubTraining(adopting),
            )  # fmt: skip
            self.ward.engine.adapting._adaptation = self.adaptation
            self.ward.acknowledged = self.acknowledged
            channels = signal(0, restless=False).channels
            for at in range(0, SECONDS, STEP):
                if at not in self.acknowledged:
                    part = self.x[at * RATE : (at + STEP) * RATE]
                    self.ward.give(chunk(part, at * RATE, channels=channels), tag=at)
                    self.ward.clock.pass_s(STEP)
                    self.ward.turn()
                if ["bank"] in [lane.flags for _, lane in self.ward.engine.state.lanes() if lane.n_committed]:
                    self.adopted()
            self.ward.stop()

    def check(self) -> None:
        with sanstream.open(self.ward.url) as archive:
            assert np.array_equal(archive.recordings["bed1"].streams["250hz"].read(), self.x)
            assert archive.verify(deep=True) == []


@pytest.mark.parametrize("point", ["retrain.trained:1", "retrain.adopted:1", "ledger.synced:8"])
def test_a_power_cut_around_an_adoption_loses_no_sample(tmp_path: Path, point: str) -> None:
    bed = Bed(tmp_path)
    with PowerCut(tmp_path, point=point, tear=7) as disk:
        bed.live(disk)
    assert disk.lost
    bed.live(Disk())
    bed.check()


@pytest.mark.parametrize("site", [None, "adaptation.data", "adaptation.data.folder", "audit.data"])
def test_an_adoption_that_a_committed_block_uses_survives_a_power_cut(tmp_path: Path, site: str | None) -> None:
    bed = Bed(tmp_path)
    with PowerCut(tmp_path, ignore=site) as disk:
        bed.adopted = disk.cut
        bed.live(disk)
    assert disk.lost
    again = Adaptation(RetrainSettings(), tmp_path / "state", Disk(), bed.clock, inline=True)
    kept = again.state(KEY)["retrained"] == 1 and len(again.audit.rows()) == 1
    again.close()
    assert kept == (site is None)
