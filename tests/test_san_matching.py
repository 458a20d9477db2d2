"""Matching: correlation at every position, selection, refit, pursuit and adaptation, against plain numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sanstream import quality
from sanstream.errors import InputError
from sanstream.san.matching import (
    Activations,
    adapt_kernels,
    correlate,
    flithos_of_windows,
    omp,
    refit,
    select,
    synthesize,
)
from sanstream.simulate import simulate_ecg

torch.set_num_threads(1)
SHARED = Path(__file__).parents[1] / ".." / "shared" / "data"


def make(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def activations(rows: list[tuple[int, int, int]], amplitude: torch.Tensor) -> Activations:
    window, kernel, index = (torch.tensor(column) for column in zip(*rows, strict=True))
    return Activations(window, kernel, index, amplitude)


def stamped(x: np.ndarray, kernel: np.ndarray, first: int, amplitude: np.ndarray) -> None:
    for t in range(kernel.shape[1]):
        if 0 <= first + t < x.shape[1]:
            x[:, first + t] += amplitude * kernel[:, t]


@pytest.mark.parametrize(("n", "m"), [(60, 9), (200, 80), (40, 70)])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("remove_mean", [True, False])
def test_scores_are_those_of_least_squares_over_the_overlap(n: int, m: int, shared: bool, remove_mean: bool) -> None:
    x, w = make(1, 2, 3, n), make(2, 2, 1 if shared else 3, m)
    scores = correlate(x, w, remove_mean=remove_mean)
    assert scores.energy.shape == (2, 2, n + m - 1)
    for j in range(0, n + m - 1, 7):
        first = j - (m - 1)
        inside, taps = slice(max(first, 0), min(first + m, n)), slice(max(-first, 0), min(n - first, m))
        if inside.stop - inside.start < 3:
            continue
        a = x[:, :, inside].double()
        b = w[:, :, taps].double().expand(2, 3, -1)
        if remove_mean:
            a, b = a - a.mean(2, keepdim=True), b - b.mean(2, keepdim=True)
        inner = torch.einsum("bct,qct->bcq", a, b)
        energy = (inner**2 / (b**2).sum(2).T[None]).sum(1)
        torch.testing.assert_close(scores.energy[:, :, j].double(), energy, rtol=2e-3, atol=2e-3)
        torch.testing.assert_close(scores.local[:, 0, j].double(), (a**2).sum((1, 2)), rtol=1e-3, atol=1e-3)
    assert float(scores.explained.max()) <= 1
    assert float(scores.overlap.max()) == pytest.approx(1, abs=1e-5) or n < m


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(InputError, match="1 or channels"):
        correlate(make(1, 2, 3, 50), make(2, 1, 2, 9))


def test_synthesis_stamps_and_cuts_kernels_at_both_ends() -> None:
    w, amplitude = make(3, 2, 2, 7), make(4, 4, 2)
    rows = [(0, 0, -4), (0, 1, 10), (1, 1, 17), (1, 0, 3)]
    expected = np.zeros((2, 2, 20), dtype=np.float32)
    for (b, k, p), a in zip(rows, amplitude.numpy(), strict=True):
        stamped(expected[b], w[k].numpy(), p, a)
    np.testing.assert_allclose(synthesize(activations(rows, amplitude), w, 2, 20).numpy(), expected, atol=1e-6)
    outside = activations([(0, 0, -7), (1, 0, 20)], amplitude[:2])
    assert float(synthesize(outside, w, 2, 20).abs().max()) == 0


@pytest.mark.parametrize("shared", [True, False])
def test_refit_is_least_squares_with_overlaps(shared: bool) -> None:
    x, w = make(5, 3, 2, 50), make(6, 2, 1 if shared else 2, 12)
    rows = [(0, 0, -5), (0, 1, 4), (0, 0, 9), (2, 1, 44)]
    found = refit(x, w, activations(rows, torch.zeros(4, 2)), emphasis=0).numpy()
    for b in (0, 2):
        for c in range(2):
            mine = [i for i, row in enumerate(rows) if row[0] == b]
            design = np.zeros((50, len(mine)))
            for column, i in enumerate(mine):
                track = np.zeros((1, 50))
                kernel = w[rows[i][1], 0 if shared else c].numpy()[None]
                stamped(track, kernel, rows[i][2], np.ones(1))
                design[:, column] = track[0]
            expected = np.linalg.lstsq(design, x[b, c].double().numpy(), rcond=None)[0]
            np.testing.assert_allclose(found[mine, c], expected, rtol=1e-3, atol=1e-3)


def test_refit_with_emphasis_is_not_bent_by_a_wandering_baseline() -> None:
    x, kernels, truth = planted(noise=0.0)
    wander = 3 * torch.cos(torch.linspace(0, 6.3, 200))
    plain = (refit(x + wander, kernels, truth, emphasis=0) - truth.amplitude).abs().max()
    emphasised = (refit(x + wander, kernels, truth) - truth.amplitude).abs().max()
    assert float(emphasised) < 0.3 * float(plain)
    torch.testing.assert_close(refit(x, kernels, truth), truth.amplitude, atol=1e-2, rtol=1e-2)


def test_refit_of_twins_and_of_an_empty_channel_stays_finite() -> None:
    w = make(7, 1, 2, 9)
    w[:, 1] = 0
    x = synthesize(activations([(0, 0, 5)], torch.tensor([[2.0, 3.0]])), w, 1, 30)
    found = refit(x, w, activations([(0, 0, 5), (0, 0, 5)], torch.zeros(2, 2)))
    assert float(found[:, 0].sum()) == pytest.approx(2, rel=1e-3)
    assert float(found[:, 1].abs().max()) == 0
    assert len(refit(x, w, select(torch.zeros(1, 2, 30), w))) == 0


def planted(seed: int = 0, noise: float = 0.05) -> tuple[torch.Tensor, torch.Tensor, Activations]:
    t = torch.linspace(-1, 1, 40)
    bump = torch.exp(-((t / 0.15) ** 2))
    wave = torch.sin(2 * torch.pi * 2 * t) * torch.exp(-((t / 0.4) ** 2))
    kernels = torch.stack([torch.stack([bump, 0.5 * bump]), torch.stack([wave, -wave])])
    rows = [(0, 0, 20), (0, 1, 75), (0, 0, 150), (1, 1, -12), (1, 1, 60), (1, 0, 170)]
    amplitude = torch.tensor([[1.0, 2], [2, 1], [-1, -1], [1, 1], [1.5, 1], [2, 2]])
    truth = activations(rows, amplitude)
    return synthesize(truth, kernels, 2, 200) + noise * make(seed, 2, 2, 200), kernels, truth


@pytest.mark.parametrize(("remove_mean", "emphasis"), [(True, 0.0), (False, 0.0), (True, 0.9), (False, 0.9)])
def test_selection_finds_what_was_planted(remove_mean: bool, emphasis: float) -> None:
    x, kernels, truth = planted()
    found = select(x + 3.0 * remove_mean, kernels, remove_mean=remove_mean, emphasis=emphasis, min_explained=0.5)
    assert found.window.tolist() == truth.window.tolist()
    assert found.kernel.tolist() == truth.kernel.tolist()
    assert (found.index - truth.index).abs().max() <= 1
    assert float((refit(x, kernels, found) - truth.amplitude).abs().max()) < 0.2
    kernel, index, amplitude = found.of_window(1)
    assert kernel.tolist() == [1, 1, 0]
    assert index.shape == (3,)
    assert amplitude.shape == (3, 2)


def test_selection_keeps_its_distance_its_count_and_its_floor() -> None:
    x, kernels, _ = planted()
    for distance in (5, 60, 500):
        found = select(x, kernels, min_distance=distance, min_explained=0.2)
        for b in (0, 1):
            assert (np.diff(found.of_window(b)[1]) > distance).all()
    assert select(x, kernels, max_per_window=1).counts(2).tolist() == [1, 1]
    assert len(select(x, kernels, min_energy=1e6)) == 0
    assert len(select(x, kernels, min_energy=torch.tensor([0.0, 1e6])).of_window(1)[0]) == 0
    assert len(select(torch.zeros(3, 2, 100), kernels)) == 0
    assert len(select(make(3, 2, 2, 200), kernels, min_explained=0.9)) == 0


def greedy(x: np.ndarray, w: np.ndarray, patience: int) -> tuple[float, int]:
    """Plain orthogonal matching pursuit of one window (n,) with kernels (q, m); returns phi and A."""
    n, m = len(x), w.shape[1]
    x = x - x.mean()
    pool = []
    for kernel in w:
        for centre in range(n):
            track = np.zeros((1, n))
            stamped(track, kernel[None], centre - (m - 1) // 2, np.ones(1))
            pool.append(track[0] / np.linalg.norm(track[0]))
    table, chosen, residual = np.array(pool), list[int](), x
    best, best_count = 1.0, 0
    while len(chosen) - best_count < patience:
        chosen.append(int(np.argmax((table @ residual) ** 2)))
        design = table[chosen].T
        residual = x - design @ np.linalg.lstsq(design, x, rcond=None)[0]
        phi = quality.phi(0, len(chosen), n, quality.relative_loss(x, x - residual))
        if phi < best:
            best, best_count = phi, len(chosen)
    return best, best_count


@pytest.mark.parametrize("compiled", [True, False])
def test_pursuit_equals_a_plain_one_and_stops_by_phi(compiled: bool) -> None:
    x, _, _ = planted(noise=0.2)
    w = make(8, 2, 1, 9)
    flat = x.reshape(4, 1, 200)
    found = omp(flat * 7 + 100, w, patience=4, compiled=compiled)
    for i in range(4):
        phi, count = greedy(flat[i, 0].double().numpy(), w[:, 0].double().numpy(), 4)
        assert found.n_activations[i] == count
        assert found.phi[i] == pytest.approx(phi, rel=1e-3)
    centred = flat * 7 - (flat * 7).mean(2, keepdim=True)
    model = synthesize(found.activations, w, 4, 200)
    for i in range(4):
        rl = quality.relative_loss(centred[i].numpy(), model[i].numpy())
        assert float(found.rl[i]) == pytest.approx(rl, rel=1e-3)
        assert float(found.phi[i]) == pytest.approx(quality.phi(0, int(found.n_activations[i]), 200, rl), rel=1e-3)


@pytest.mark.parametrize("compiled", [True, False])
def test_pursuit_shares_kernel_and_index_between_channels(compiled: bool) -> None:
    x, kernels, truth = planted(noise=0.01)
    truth = truth.where(truth.window == 0)  # the window whose mean is near zero
    found = omp(x[:1], kernels, compiled=compiled)
    assert found.activations.kernel.tolist() == truth.kernel.tolist()
    assert torch.equal(found.activations.index, truth.index)
    torch.testing.assert_close(found.activations.amplitude, truth.amplitude, atol=0.05, rtol=0.05)


def test_phi_of_windows_knows_flat_ones_noise_and_a_fixed_count() -> None:
    x, kernels, _ = planted(noise=0.01)
    batch = torch.cat([x[:, :1], torch.full((1, 1, 200), 5.0), make(9, 1, 1, 200)])
    phi, count = flithos_of_windows(batch, kernels[:, :1])
    assert phi[2] == 0
    assert count[2] == 0
    assert float(phi[:2].max()) < 0.25 < float(phi[3])
    assert omp(batch[:2], kernels[:, :1], stop=2).n_activations.tolist() == [2, 2]
    assert len(omp(batch[:0], kernels[:, :1]).phi) == 0
    one = omp(batch, kernels[:, :1], max_activations=1)
    assert int(one.n_activations.max()) == 1


def explained_of_beats(x: np.ndarray, model: np.ndarray, beats: np.ndarray) -> float:
    shares = []
    for at in beats[(beats > 90) & (beats < len(x) - 145)]:
        a, e = x[at - 80 : at + 130], (x - model)[at - 80 : at + 130]
        shares.append(1 - ((e - e.mean(0)) ** 2).sum() / ((a - a.mean(0)) ** 2).sum())
    return float(np.median(shares))


def learned(samples: np.ndarray, n: int = 3600, **options: int) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    count = len(samples) // n
    x = torch.from_numpy(samples[: count * n].astype(np.float32).reshape(count, n, -1)).transpose(1, 2).contiguous()
    x = x - x.mean(2, keepdim=True)
    kernels = adapt_kernels(x, None, kernel_samples=234, **options)
    chosen = select(x, kernels)
    model = synthesize(chosen.with_amplitude(refit(x, kernels, chosen)), kernels, count, n)
    return (
        kernels,
        x.transpose(1, 2).reshape(count * n, -1).numpy(),
        model.transpose(1, 2).reshape(count * n, -1).numpy(),
    )


@pytest.mark.parametrize("n_kernels", [1, 3])
def test_kernels_learn_the_beats_of_a_simulated_ecg(n_kernels: int) -> None:
    recording = simulate_ecg(120, seed=1, ectopic=0.1)
    kernels, x, model = learned(recording.streams[0].segments[0].samples, n_kernels=n_kernels)
    marks = recording.annotations[0].columns
    assert 1 <= len(kernels) <= n_kernels
    assert explained_of_beats(x, model, marks["sample"][marks["symbol"] == "N"]) > 0.9
    if n_kernels == 3:
        assert explained_of_beats(x, model, marks["sample"][marks["symbol"] == "V"]) > 0.9
    norm = kernels.pow(2).sum((1, 2)).sqrt()
    torch.testing.assert_close(norm, torch.ones_like(norm))
    assert float(kernels[:, :, 0].abs().max()) < 1e-6


def test_kernels_start_from_those_given_and_idle_ones_go() -> None:
    recording = simulate_ecg(60, seed=2, ectopic=0.0)
    samples = recording.streams[0].segments[0].samples[:21600].astype(np.float32)
    x = torch.from_numpy(samples.reshape(6, 3600, 2)).transpose(1, 2)
    first = adapt_kernels(x, None, n_kernels=1, kernel_samples=200)
    again = adapt_kernels(x, torch.cat([first, make(1, 1, 2, 200)]), n_kernels=2, kernel_samples=200, n_rounds=3)
    assert float((again[0] * first[0]).sum()) > 0.98
    data = adapt_kernels(x, first, n_kernels=1, kernel_samples=200, scale="data")
    chosen = select(x - x.mean(2, keepdim=True), data)
    assert float(chosen.amplitude.mean()) == pytest.approx(1, abs=0.15)


def test_nothing_to_learn_gives_no_kernels_or_says_so() -> None:
    assert len(adapt_kernels(torch.zeros(4, 2, 500), None, n_kernels=3, kernel_samples=50)) == 0
    with pytest.raises(InputError, match="kernels of 600 samples"):
        adapt_kernels(torch.zeros(4, 2, 500), None, n_kernels=3, kernel_samples=600)
    with pytest.raises(InputError, match="initial kernels have 9 taps"):
        adapt_kernels(make(1, 4, 2, 500), make(1, 1, 2, 9), n_kernels=3, kernel_samples=50)


@pytest.mark.shared
def test_a_clean_record_is_explained_for_nine_tenths_within_seconds() -> None:
    path = SHARED / "mitdb" / "122"
    if not path.with_suffix(".hea").exists():
        pytest.skip("needs ../shared/data/mitdb")
    import wfdb

    samples = wfdb.rdrecord(str(path), physical=False, sampto=216000).d_signal
    beats = wfdb.rdann(str(path), "atr", sampto=216000)
    places = np.array([s for s, c in zip(beats.sample, beats.symbol, strict=True) if c == "N"])
    _, x, model = learned(samples, n_kernels=2)
    assert explained_of_beats(x, model, places) > 0.9
