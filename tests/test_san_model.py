"""The network: padding, both decoders, phi with its parts, and what training promises."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from sanstream import quality
from sanstream.errors import InputError
from sanstream.san.flithos import Flithos, flithos, flithos_mean, relative_losses
from sanstream.san.model import San
from sanstream.san.training import evaluate, normalise_windows, train
from sanstream.simulate import simulate_ecg

torch.set_num_threads(1)
SHARED = Path(__file__).parents[1] / ".." / "shared" / "data"


def test_correlation_is_padded_left_by_half_of_m_minus_one() -> None:
    net = San([4], activation="identity")
    net.kernels[0].data = torch.tensor([1.0, 2.0, 3.0, 4.0])
    x = torch.tensor([[1.0, 0.0, 0.0, 0.0, 0.0]])
    assert net.similarity(x)[0, 0].tolist() == [2.0, 1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("m", [1, 2, 5, 8])
def test_the_adjoint_decoder_stamps_the_kernel_and_the_papers_its_reverse(m: int) -> None:
    kernel = torch.arange(1.0, m + 1)
    impulse = torch.zeros(1, 1, 40)
    impulse[0, 0, 20] = 1.0
    for decoder in ("adjoint", "paper"):
        net = San([m], activation="identity", decoder=decoder)
        net.kernels[0].data = kernel
        out = net.decode(impulse)[0]
        first = int(torch.nonzero(out)[0])
        stamp = kernel if decoder == "adjoint" else kernel.flip(0)
        assert torch.equal(out[first : first + m], stamp)
        assert first == (20 - (m - 1) // 2 if decoder == "adjoint" else 20 - (m - 1 - (m - 1) // 2))


def test_the_adjoint_decoder_is_the_transpose_of_the_encoder() -> None:
    net = San([6, 11], activation="identity")
    x, a = torch.randn(1, 50), torch.randn(1, 2, 50)
    left = (net.similarity(x) * a).sum()
    assert torch.allclose(left, (net.decode(a) * x).sum(), rtol=1e-4)


def test_kernels_have_sizes_of_their_own_and_windows_any_length() -> None:
    net = San([3, 30, 80], activation="extrema", compete=True)
    reconstruction, activations = net(torch.randn(2, 50))
    assert reconstruction.shape == (2, 50)
    assert activations.shape == (2, 3, 50)
    assert net.n_weights == 113
    with pytest.raises(InputError, match="unknown decoder"):
        San([3], activation="relu", decoder="tied")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at least 1"):
        San([], activation="relu")


def test_phi_counts_numbers_and_shows_its_parts() -> None:
    one = Flithos(n_weights=10, n_activations=20, n_samples=100, rl=0.3, n_windows=5)
    assert one.cr_inverse == 0.5
    assert one.phi == math.hypot(0.5, 0.3) == quality.phi(10, 20, 100, 0.3)
    assert one.cr_inverse_amortised == 0.42
    assert Flithos(10, 20, 100, 0.3, n_dims=2).cr_inverse == 0.7
    two = Flithos(10, 0, 100, 1.0)
    mean = flithos_mean([one, two])
    assert mean.phi == (one.phi + two.phi) / 2 >= math.hypot(mean.cr_inverse, mean.rl)
    with pytest.raises(InputError):
        flithos_mean([])


def test_phi_agrees_with_quality_example_by_example() -> None:
    x = torch.from_numpy(normalise_windows(torch.randn(4, 200)))
    x[3] = 0.0
    net = San([9], activation="extrema")
    with torch.no_grad():
        reconstruction, activations = net(x)
    for i, one in enumerate(flithos(x, reconstruction, activations, net.n_weights)):
        assert one.rl == pytest.approx(quality.relative_loss(x[i].numpy(), reconstruction[i].numpy()), rel=1e-5)
        assert one.n_activations == int((activations[i] != 0).sum())
        assert one.n_windows == 4
    assert relative_losses(x, reconstruction)[3] == 0


def windows(count: int = 12, n: int = 600) -> np.ndarray:
    samples = simulate_ecg(count * n / 360, n_leads=1, seed=5).streams[0].segments[0].samples[:, 0]
    return samples[: count * n].reshape(count, n).astype(np.float64)


def test_windows_are_normalised_by_mean_and_deviation_n_minus_one() -> None:
    x = normalise_windows([[1.0, 2.0, 3.0], [7.0, 7.0, 7.0]])
    np.testing.assert_allclose(x, [[-1, 0, 1], [0, 0, 0]])
    with pytest.raises(InputError, match="finite"):
        normalise_windows([[1.0, math.nan]])


def test_the_best_epoch_of_the_best_seed_is_kept_and_not_the_last() -> None:
    x = windows()
    found = train(x, n_kernels=1, kernel_samples=12, activation="extrema", seeds=(0, 1), n_epochs=4, learning_rate=0.2)
    assert len(found.history) == 8
    assert found.best == min(found.history, key=lambda e: e.validation.phi)
    again = evaluate(found.model, torch.from_numpy(normalise_windows(x[-3:])))
    assert again.phi == pytest.approx(found.best.validation.phi, rel=1e-5)
    np.testing.assert_array_equal(found.kernels[0], found.model.kernels[0].detach().numpy())


def test_training_is_repeatable_and_leaves_the_global_seed_alone() -> None:
    torch.manual_seed(9)
    expected = torch.rand(1)
    torch.manual_seed(9)
    a, b = (train(windows(6, 300), n_kernels=2, kernel_samples=[8, 20], n_epochs=2, seeds=(3,)) for _ in range(2))
    assert torch.equal(torch.rand(1), expected)
    for one, other in zip(a.kernels, b.kernels, strict=True):
        np.testing.assert_array_equal(one, other)
    assert [len(k) for k in a.kernels] == [8, 20]


def test_training_refuses_what_does_not_fit() -> None:
    with pytest.raises(InputError, match="one size per kernel"):
        train(windows(4, 100), n_kernels=2, kernel_samples=[5])
    with pytest.raises(InputError, match="at least two windows"):
        train(windows(1, 100), n_kernels=1, kernel_samples=5)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("activation", "m", "phi"),
    [
        ("identity", 1, 1.984),
        ("relu", 1, 0.911),
        ("topk_absolutes", 7, 0.590),
        ("extrema_pool", 10, 0.490),
        ("extrema", 9, 0.450),
    ],
)
def test_record_100_is_reproduced_within_two_hundredths(activation: str, m: int, phi: float) -> None:
    path = SHARED / "paper" / "mitdb_100"
    if not path.with_suffix(".hea").exists():
        pytest.skip("needs ../shared/data/paper/mitdb_100")
    import wfdb

    x = wfdb.rdrecord(str(path)).p_signal[:12000, 0].reshape(12, 1000)
    found = train(x[:6], validation=x[6:8], n_kernels=1, kernel_samples=m, activation=activation)
    test = evaluate(found.model, torch.from_numpy(normalise_windows(x[8:])))
    assert test.phi == pytest.approx(phi, abs=0.02)


def test_windows_on_which_phi_is_not_defined_are_refused() -> None:
    windows = np.random.default_rng(0).standard_normal((4, 30))
    flat = windows.copy()
    flat[1] = 7.0
    with pytest.raises(InputError, match=r"constant \(numbers \[1\]\)"):
        train(windows, n_kernels=1, kernel_samples=5, validation=flat, n_epochs=1, seeds=(0,))
