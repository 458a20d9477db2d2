"""Many models as one batch: the same outputs and the same training as one at a time, in signals and images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sanstream.errors import InputError
from sanstream.san.activations import NAMES
from sanstream.san.flithos import flithos, flithos_mean, flithos_means
from sanstream.san.model import Decoder, San
from sanstream.san.stack import SanStack, examine
from sanstream.san.training import evaluate, train, train_sweep

torch.set_num_threads(1)
SIZES = {1: [[3, 30], [7, 8], [50, 1], [90, 12]], 2: [[1, 3], [4, 4], [6, 2], [13, 5]]}


def make(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def strokes(seed: int, count: int, side: int) -> torch.Tensor:
    """Images of exact zeros with a few bright boxes."""
    x = torch.zeros(count, side, side)
    rng = np.random.default_rng(seed)
    for image in x:
        for _ in range(2):
            y, left = rng.integers(2, side - 6, 2)
            image[y : y + 4, left : left + 2] = float(rng.random()) + 0.2
    return x


@pytest.mark.parametrize("n_dims", [1, 2])
@pytest.mark.parametrize("decoder", ["adjoint", "paper"])
@pytest.mark.parametrize("name", NAMES)
def test_a_stack_gives_what_its_models_give(name: str, decoder: Decoder, n_dims: int) -> None:
    models = [San(own, activation=name, n_dims=n_dims, decoder=decoder, tolerance=2) for own in SIZES[n_dims]]
    x = make(1, 5, 80) if n_dims == 1 else make(1, 5, 12, 15)
    stack = SanStack(models)
    reconstruction, activations = stack(x)
    for i, model in enumerate(models):
        own, fired = model(x)
        torch.testing.assert_close(reconstruction[:, i], own, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(activations[:, i], fired, rtol=1e-4, atol=1e-5)
    assert stack.n_weights == [m.n_weights for m in models]
    for model, again in zip(models, stack.models(), strict=True):
        for w, v in zip(model.kernels, again.kernels, strict=True):
            assert torch.equal(w, v)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_of_a_stack_are_those_of_its_models(name: str) -> None:
    models = [San(own, activation=name, tolerance=2) for own in SIZES[1]]
    x, stack = make(2, 4, 80), SanStack(models)
    (stack(x)[0] - x[:, None]).abs().flatten(2).mean(dim=(0, 2)).sum().backward()
    assert stack.taps.grad is not None
    found = stack.models(stack.taps.grad)
    for model, gradient in zip(models, found, strict=True):
        (model(x)[0] - x).abs().mean().backward()
        for w, g in zip(model.kernels, gradient.kernels, strict=True):
            torch.testing.assert_close(g.data, w.grad, rtol=1e-3, atol=1e-5)
    assert float((stack.taps.grad * (1 - stack.mask)).abs().max()) == 0


def test_nothing_fires_where_an_image_is_empty() -> None:
    x = strokes(0, 3, 20)
    models = [San([m, m], activation="identity", n_dims=2) for m in range(1, 7)]
    _, activations = SanStack(models)(x)
    for i, m in enumerate(range(1, 7)):
        reached = torch.nn.functional.conv2d(
            torch.nn.functional.pad((x[:, None] != 0).float(), ((m - 1) // 2, m // 2) * 2), torch.ones(1, 1, m, m)
        )
        assert torch.equal(activations[:, i] != 0, (reached > 0.5).expand(-1, 2, -1, -1))


def test_phi_of_a_stack_is_that_of_its_examples_one_by_one() -> None:
    x = strokes(1, 70, 14)
    models = [San(own, activation="extrema_pool", n_dims=2) for own in SIZES[2]]
    found = flithos_means(examine(SanStack(models), x), [m.n_weights for m in models], n_windows=9)
    for model, mean in zip(models, found, strict=True):
        with torch.no_grad():
            expected = flithos_mean(flithos(x, *model(x), model.n_weights, n_windows=9))
        for key in ("cr_inverse", "rl", "phi", "phi_amortised", "n_activations", "n_examples"):
            assert getattr(mean, key) == pytest.approx(getattr(expected, key), rel=1e-4), key
        assert mean.phi == pytest.approx(evaluate(model, x).phi, rel=1e-4)
    # q m^2 numbers, and three for each activation of an image
    assert models[0].n_weights == 10
    assert found[0].cr_inverse == pytest.approx((10 + 3 * found[0].n_activations) / 196)


@pytest.mark.parametrize("name", ["topk_absolutes", "extrema_pool", "extrema"])
@pytest.mark.parametrize("n_dims", [1, 2])
def test_a_sweep_trains_each_model_as_if_it_were_alone(name: str, n_dims: int) -> None:
    x = make(3, 10, 100).cumsum(dim=1) if n_dims == 1 else strokes(3, 20, 14)
    options = {"activation": name, "n_epochs": 3, "batch_size": 4, "seed": 5, "tolerance": 2}
    swept = train_sweep(x, models=SIZES[n_dims][:3], **options)  # type: ignore[arg-type]
    for sizes, found in zip(SIZES[n_dims], swept, strict=False):
        (alone,) = train_sweep(x, models=[sizes], **options)  # type: ignore[arg-type]
        assert [e.epoch for e in found.history] == [0, 1, 2]
        assert found.best.epoch == alone.best.epoch
        for own, other in zip(found.history, alone.history, strict=True):
            assert own.loss == pytest.approx(other.loss, rel=1e-3)
            assert own.validation.phi == pytest.approx(other.validation.phi, rel=1e-3)
        for w, v in zip(found.kernels, alone.kernels, strict=True):
            np.testing.assert_allclose(w, v, atol=2e-3)


def test_the_last_epoch_is_kept_beside_the_best() -> None:
    x = make(4, 12, 120)
    runs = [
        train_sweep(x, models=[[9]], activation="identity", n_epochs=5, learning_rate=1.0, seed=s, normalise=False)[0]
        for s in range(3)
    ]
    found = min(runs, key=lambda run: run.best.epoch)
    assert found.best.epoch < 4  # steps of 1 spoil what was found
    assert evaluate(found.last, x[-3:]).phi == pytest.approx(found.history[-1].validation.phi, rel=1e-5)
    assert evaluate(found.model, x[-3:]).phi == pytest.approx(found.best.validation.phi, rel=1e-5)
    again = train(
        x, n_kernels=1, kernel_samples=9, activation="identity", n_epochs=5, learning_rate=1.0, normalise=False
    )
    assert again.best == min((run.best for run in runs), key=lambda epoch: epoch.validation.phi)
    assert len(again.history) == 15


def test_annealing_ends_at_the_models_own_distance() -> None:
    x = make(5, 8, 200)
    plain, annealed = (
        train_sweep(x, models=[[20]], n_epochs=4, normalise=False, anneal=a)[0].history for a in (1.0, 0.1)
    )
    assert plain[0].loss != annealed[0].loss
    assert plain[0].validation.n_activations < 40  # validation always has the distance of the kernel
    assert annealed[0].validation.n_activations < 40


def test_models_of_different_kinds_do_not_stack() -> None:
    with pytest.raises(InputError, match="2 models of 2 kinds; models may differ in their kernels alone"):
        SanStack([San([3], activation="relu"), San([3], activation="extrema")])
    with pytest.raises(InputError, match="3 dimensions"):
        San([3], activation="relu", n_dims=3)
