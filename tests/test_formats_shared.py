"""Every real recording comes back: header texts and EDF files byte for byte, samples as the library reads them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from sanstream import formats

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def pipeline() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "pipelines" / "roundtrip.py"
    spec = importlib.util.spec_from_file_location("roundtrip", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["roundtrip"] = module
    spec.loader.exec_module(module)
    return module


def test_every_recording_is_given_back(shared_data: Path, pipeline: ModuleType, tmp_path: Path) -> None:
    sources = list(pipeline.recordings(shared_data))
    assert len(sources) > 50
    for number, source in enumerate(sources):
        pipeline.carry(source, tmp_path, tmp_path / str(number), "none", "fast")
        assert pipeline.compare(source, tmp_path / str(number)) == [], source


def test_multi_rate_and_multi_segment_recordings_are_one_recording(shared_data: Path) -> None:
    icu = formats.read(shared_data / "mimic4wdb" / "85594648_0001")
    assert [(s.name, s.n_samples) for s in icu.streams] == [
        ("249.89hz", 3983360), ("124.945hz", 1991680), ("62.4725hz", 995840)
    ]  # fmt: skip
    long = formats.read(shared_data / "wfdb-formats" / "s25047" / "s25047-2704-05-04-10-44")
    assert [s.n_samples for s in long.streams] == [543240]
    assert len(long.streams[0].segments) > 10
    assert (long.start_ns, long.attributes["time_of_day"]) == (None, "10:44:18.529")  # in 2704


def test_paper_csv_gives_back_its_text(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "paper" / "bidmc01_RESP.csv"
    (path,) = formats.write(formats.read(source, rate=125), tmp_path, format="csv")
    assert path.read_bytes() == source.read_bytes()
