"""Pursuit of windows and images: against plain numpy, its stop rules, its refits and sweeps, compiled and in torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor

from sanstream.errors import InputError
from sanstream.san.dictionary import phi_bar
from sanstream.san.encoders import ByBits, ByPhi, Encoded, pursue, refit_amplitudes

KERNELS = [torch.tensor([1.0, 2.0, -1.0]), torch.tensor([0.5, 1.0, 2.0, 1.0, 0.3]), torch.tensor([1.0, -1.0])]


def signals(count: int = 3, n: int = 30, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).laplace(size=(count, n)))


def images(count: int = 3, seed: int = 0) -> tuple[Tensor, list[Tensor]]:
    rng = np.random.default_rng(seed)
    kernels = [torch.from_numpy(rng.normal(size=shape)) for shape in ((3, 3), (2, 4))]
    return torch.from_numpy(rng.laplace(size=(count, 9, 11))), kernels


def all_atoms(kernels: list[Tensor], n: int) -> tuple[np.ndarray[Any, Any], list[tuple[int, int]]]:
    """Every kernel at every place where its middle tap lies inside, cut to the window: (places, n)."""
    rows, names = [], []
    for k, taps in enumerate(kernels):
        w = taps.double().numpy()
        left = (len(w) - 1) // 2
        for t in range(n):
            row = np.zeros(n)
            for j, value in enumerate(w):
                if 0 <= t - left + j < n:
                    row[t - left + j] = value
            rows.append(row)
            names.append((k, t - left))
    return np.array(rows), names


def reference(x: np.ndarray[Any, Any], steps: int, *, orthogonal: bool) -> dict[tuple[int, int], float]:
    atoms, names = all_atoms(KERNELS, len(x))
    norm = np.linalg.norm(atoms, axis=1)
    amplitude = np.zeros(len(atoms))
    chosen: list[int] = []
    for _ in range(steps):
        residual = x - amplitude @ atoms
        best = int(np.argmax(np.abs(atoms @ residual) / norm))
        chosen = [*chosen, best] if best not in chosen else chosen
        if orthogonal:
            amplitude[chosen] = np.linalg.lstsq(atoms[chosen].T, x, rcond=None)[0]
        else:
            amplitude[best] += atoms[best] @ residual / norm[best] ** 2
    return {names[c]: float(amplitude[c]) for c in chosen}


def as_dict(found: Encoded, window: int) -> dict[tuple[int, int], float]:
    mine = found.window == window
    places = zip(found.kernel[mine].tolist(), found.index[mine, -1].tolist(), strict=True)
    return dict(zip(places, found.amplitude[mine].tolist(), strict=True))


def same(a: Encoded, b: Encoded) -> None:
    for name in ("window", "kernel", "index", "n_activations"):
        assert torch.equal(getattr(a, name).cpu(), getattr(b, name).cpu()), name
    torch.testing.assert_close(a.amplitude, b.amplitude.cpu(), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(a.reconstruction, b.reconstruction.cpu(), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("compiled", [True, False])
def test_orthogonal_pursuit_does_what_plain_numpy_does(compiled: bool) -> None:
    x = signals()
    found = pursue(x, KERNELS, stop=7, compiled=compiled)
    for b in range(len(x)):
        assert as_dict(found, b) == pytest.approx(reference(x[b].numpy(), 7, orthogonal=True), abs=1e-6)


@pytest.mark.parametrize("compiled", [True, False])
def test_matching_pursuit_does_what_plain_numpy_does(compiled: bool) -> None:
    x = signals()
    found = pursue(x, KERNELS, method="mp", stop=ByPhi(patience=1), compiled=compiled)
    for b in range(len(x)):
        steps = next(s for s in range(1, 60) if reference_phi(x[b], s) <= reference_phi(x[b], s + 1))
        assert as_dict(found, b) == pytest.approx(reference(x[b].numpy(), steps, orthogonal=False), abs=1e-9)


def reference_phi(x: Tensor, steps: int) -> float:
    chosen = reference(x.numpy(), steps, orthogonal=False)
    atoms, names = all_atoms(KERNELS, len(x))
    drawn = sum(a * atoms[names.index(name)] for name, a in chosen.items())
    rl = np.abs(x.numpy() - drawn).sum() / np.abs(x.numpy()).sum()
    return float(np.hypot(2 * len(chosen) / len(x), rl))


@pytest.mark.parametrize("compiled", [True, False])
def test_phi_decides_for_the_least_phi_of_the_whole_path(compiled: bool) -> None:
    x, weights = signals(), 5.0
    path = [pursue(x, KERNELS, stop=count, compiled=compiled) for count in range(13)]
    phi = torch.stack([torch.hypot((weights + 2 * f.n_activations) / x.shape[1], f.rl) for f in path]).numpy()
    stop = ByPhi(n_weights=weights, patience=13)
    found = pursue(x, KERNELS, stop=stop, max_activations=12, compiled=compiled)
    assert found.n_activations.tolist() == phi.argmin(axis=0).tolist()
    assert phi_bar(found, stop) == pytest.approx(phi.min(axis=0).mean())
    assert 0 < int(found.n_activations.min()) <= int(found.n_activations.max()) < 12


def test_bits_decide_for_the_fewest_bits_of_the_whole_path() -> None:
    atoms, _ = all_atoms(KERNELS, 60)
    rng = np.random.default_rng(0)
    weight = rng.exponential(size=(3, len(atoms))) * (rng.random((3, len(atoms))) < 0.08)
    x, step = torch.from_numpy(weight @ atoms + 0.02 * rng.normal(size=(3, 60))), 0.1
    path = [pursue(x, KERNELS, stop=count) for count in range(31)]
    error = np.array([(f.reconstruction - x).abs().mean(dim=1).numpy() for f in path])
    counts = []
    for price in (4.0, 12.0):
        bits = price * np.arange(31)[:, None] + 60 * np.log2(1 + 2 * np.e * error / step)
        found = pursue(x, KERNELS, stop=ByBits(price, step, patience=31), max_activations=30)
        assert found.n_activations.tolist() == bits.argmin(axis=0).tolist()
        counts.append(int(found.n_activations.sum()))
    assert 0 < counts[1] < counts[0] < 90


def test_an_activation_that_costs_more_numbers_is_chosen_less() -> None:
    x = signals(n=60)
    counts = [int(pursue(x, KERNELS, stop=ByPhi(numbers=k)).n_activations.sum()) for k in (1, 2, 4)]
    assert counts[0] > counts[1] > counts[2]


@pytest.mark.parametrize("compiled", [True, False])
def test_absolute_refit_is_that_of_the_linear_programme(compiled: bool) -> None:
    x = signals(n=60)
    found = pursue(x, KERNELS, stop=12, refit="absolute", compiled=compiled)
    squares = pursue(x, KERNELS, stop=12, compiled=compiled)
    atoms, names = all_atoms(KERNELS, 60)
    for b in range(len(x)):
        design = atoms[[names.index(name) for name in as_dict(found, b)]].T
        k, n = design.shape[1], 60
        cost = np.concatenate([np.zeros(k), np.ones(2 * n)])
        equal = np.hstack([design, np.eye(n), -np.eye(n)])
        bounds = [(None, None)] * k + [(0, None)] * (2 * n)
        exact = linprog(cost, A_eq=equal, b_eq=x[b].numpy(), bounds=bounds).fun / float(x[b].abs().sum())
        assert exact - 1e-9 <= float(found.rl[b]) <= exact * 1.003
        assert float(found.rl[b]) < float(squares.rl[b])


@pytest.mark.parametrize("how", [{}, {"method": "mp", "refit": "absolute"}, {"refit": "squares", "sweeps": 2},
                                 {"refit": "absolute", "sweeps": 2}, {"refit": "absolute", "sweeps": 1, "stop": 4},
                                 {"refit": "absolute", "sweeps": 1, "stop": ByBits(3.0, 0.1)}])  # fmt: skip
@pytest.mark.parametrize("plane", [False, True])
def test_the_compiled_loop_and_torch_agree(plane: bool, how: dict[str, Any]) -> None:
    x, kernels = images() if plane else (signals(4, 40), KERNELS)
    same(pursue(x, kernels, compiled=True, **how), pursue(x, kernels, compiled=False, **how))


@pytest.mark.parametrize("compiled", [True, False])
def test_windows_of_a_batch_do_not_sway_each_other(compiled: bool) -> None:
    x = signals(3, 24)
    whole = pursue(x, KERNELS, refit="absolute", sweeps=1, compiled=compiled)
    for b in range(3):
        alone = pursue(x[b : b + 1], KERNELS, refit="absolute", sweeps=1, compiled=compiled)
        assert as_dict(whole, b) == pytest.approx(as_dict(alone, 0))


def test_sweeps_never_raise_phi_and_often_lower_it() -> None:
    x = signals(8, 80)
    plain = pursue(x, KERNELS, refit="absolute")
    swept = pursue(x, KERNELS, refit="absolute", sweeps=3)
    before, after = (torch.hypot(2 * f.n_activations / 80, f.rl) for f in (plain, swept))
    assert bool((after <= before + 1e-9).all())
    assert float(after.mean()) < 0.98 * float(before.mean())


@pytest.mark.parametrize("compiled", [True, False])
def test_an_image_of_stamped_kernels_is_found_again(compiled: bool) -> None:
    _, kernels = images()
    image = torch.zeros(1, 14, 15, dtype=torch.float64)
    image[0, 1:4, 2:5] += 3 * kernels[0]
    image[0, 8:10, 9:13] -= 2 * kernels[1]
    image[0, 12:14, 0:2] += kernels[0][:2, 1:]  # overhangs a corner
    found = pursue(image, kernels, compiled=compiled)
    places = {
        (k, *at): a
        for k, at, a in zip(found.kernel.tolist(), found.index.tolist(), found.amplitude.tolist(), strict=True)
    }
    assert places == pytest.approx({(0, 1, 2): 3.0, (1, 8, 9): -2.0, (0, 12, -1): 1.0}, abs=1e-6)
    (parts,) = found.flithos(9 + 8)
    assert parts.cr_inverse == pytest.approx((17 + 3 * 3) / 210)
    assert parts.rl == pytest.approx(0, abs=1e-6)


def test_amplitudes_of_foreign_activations_are_refitted() -> None:
    x = signals(2)
    window, kernel = torch.tensor([0, 0, 1]), torch.tensor([1, 0, 2])
    index = torch.tensor([[3], [10], [28]])
    kept = refit_amplitudes(x, KERNELS, window, kernel, index, torch.tensor([1.0, 2.0, 9.0]), refit="none")
    drawn = torch.zeros_like(x)
    drawn[0, 3:8] += KERNELS[1]
    drawn[0, 10:13] += 2 * KERNELS[0]
    drawn[1, 28:30] += 9 * KERNELS[2]
    torch.testing.assert_close(kept.reconstruction, drawn)
    for compiled in (True, False):
        fitted = refit_amplitudes(x, KERNELS, window, kernel, index, kept.amplitude, compiled=compiled)
        assert bool((fitted.rl < kept.rl).all())


def test_a_silent_window_gets_nothing() -> None:
    for compiled in (True, False):
        found = pursue(torch.zeros(2, 20), KERNELS, refit="absolute", sweeps=1, compiled=compiled)
        assert found.n_activations.tolist() == [0, 0]
        assert found.rl.tolist() == [0.0, 0.0]


def test_what_cannot_be_pursued_is_said() -> None:
    with pytest.raises(InputError, match=r"windows of shape \(3, 30\) by kernels of shapes \[\(2, 2\)\]"):
        pursue(signals(), [torch.ones(2, 2)])
    with pytest.raises(InputError, match="sweeps need a refit"):
        pursue(signals(), KERNELS, sweeps=1)
    with pytest.raises(InputError, match="mp or omp"):
        pursue(signals(), KERNELS, method="lasso")  # type: ignore[arg-type]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("how", [{}, {"method": "mp", "refit": "absolute"}, {"refit": "absolute", "sweeps": 2}])
def test_a_gpu_finds_the_same(how: dict[str, Any]) -> None:
    x, kernels = images()
    same(pursue(x, kernels, **how), pursue(x.cuda(), [k.cuda() for k in kernels], **how))
