"""Fixtures for every test: small recordings, the command line in this process and in a fresh one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import sanstream
from sanstream.signal import Channel, Recording, Segment, Stream

settings.register_profile(
    "sanstream",
    deadline=None,
    print_blob=True,
    derandomize=os.environ.get("CI") == "true",
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("sanstream")

sys.path.append(str(Path(__file__).resolve().parents[1]))  # for pipelines; an installed sanstream goes before

PACKAGE = Path(sanstream.__file__).resolve().parent
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def shared_data() -> Path:
    """The folder of real recordings; tests that need it are skipped where it is not."""
    if not SHARED.is_dir():
        pytest.skip("../shared/data is not here")
    return SHARED


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``sanstream ARGUMENTS`` in this process."""
    from sanstream.cli import run as run_cli

    def call(*arguments: str | Path) -> Ended:
        capsys.readouterr()
        code = run_cli([str(a) for a in arguments])
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return call


@pytest.fixture
def run_python() -> Run:
    """Run ``python -c CODE ARGUMENTS`` in a fresh process; ``env`` adds variables, None removes one."""

    def call(code: str, *arguments: str | Path, env: dict[str, str | None] | None = None, **options: object) -> Ended:
        # wherever the process runs, it finds the package that is under test
        changed = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), **(env or {})}
        done = subprocess.run(  # type: ignore[call-overload]
            [sys.executable, "-c", code, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
            env={k: v for k, v in changed.items() if v is not None},
            **options,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def run_process(run_python: Run) -> Run:
    """Run ``sanstream ARGUMENTS`` in a fresh process."""

    def call(*arguments: str | Path, **options: object) -> Ended:
        return run_python("from sanstream.cli import main; main()", *arguments, **options)

    return call


def beats(n_samples: int, n_channels: int = 2, *, rate_hz: float = 250.0, seed: int = 0) -> np.ndarray:
    """Return ECG-like digital samples: regular pulses, wander and noise; shape (n_samples, n_channels), int32."""
    rng = np.random.default_rng(seed)
    t = np.arange(n_samples) / rate_hz
    pulse = np.exp(-(((t + 0.4) % 0.8 - 0.4) ** 2) / (2 * 0.012**2))
    wander = 40 * np.sin(2 * np.pi * 0.23 * t)
    gains = 1 + 0.5 * np.arange(n_channels)
    x = 400 * pulse[:, None] * gains + wander[:, None] + rng.normal(0, 4, (n_samples, n_channels))
    return np.round(x).astype(np.int32)


@pytest.fixture
def recording() -> Recording:
    """Thirty seconds of two leads."""
    return make_recording(beats(7500))


def make_recording(samples: np.ndarray, *, name: str = "beats", rate: int = 250, **changes: object) -> Recording:
    """Wrap samples, shape (n_samples, n_channels), as a recording of one stream and segment."""
    channels = tuple(Channel(f"lead{i}", unit="mV", gain=200.0, baseline=0) for i in range(samples.shape[1]))
    stream = Stream(f"{rate}hz", Fraction(rate), (Segment(0, channels, np.asarray(samples, dtype=np.int32)),))
    return Recording(name, (stream,), **changes)  # type: ignore[arg-type]


@pytest.fixture
def beats_npy(tmp_path: Path) -> Path:
    """Thirty seconds of two leads as ``beats.npy``, to be read at 250 Hz."""
    path = tmp_path / "beats.npy"
    np.save(path, beats(7500).astype(np.int16))
    return path


@pytest.fixture(scope="session")
def archive_250(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of ``beats.npy`` at prdn=5; read only, copy it before changing it."""
    from sanstream.transfer import archive

    folder = tmp_path_factory.mktemp("archive")
    source = folder / "beats.npy"
    np.save(source, beats(7500).astype(np.int16))
    archive([source], to=folder / "beats.san", quality=["prdn=5"], rate=Fraction(250), unit="mV")
    return folder / "beats.san"


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> object:
    """Let ``reencode`` run its jobs in this process; ``ran`` of what is given names them."""
    from reencode_cases import run_inline

    return run_inline(monkeypatch)


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A process that forks daemons to kill; see ``pipelines/faults/zygote.py``."""
    from fault_cases import Zygote
    from lsl_network import private_network

    private_network()
    with Zygote(tmp_path_factory.mktemp("zygote")) as running:
        yield running
