"""The five activations: the published vectors, and extrema against a plain sequential reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sanstream.errors import InputError
from sanstream.san.activations import (
    NAMES,
    extrema,
    extrema_mask,
    extrema_pool,
    identity,
    make_activation,
    minimum_extrema_distance,
    pool_mask,
    relu,
    topk_absolutes,
    topk_mask,
)
from sanstream.san.suppression import sliding_max, suppress, suppress_in_rounds

torch.set_num_threads(1)


def candidate(s: np.ndarray, t: int) -> bool:
    forward = s[t + 1] - s[t] if t + 1 < len(s) else 0.0
    backward = s[t] - s[t - 1] if t > 0 else 0.0
    return bool((forward > 0 and backward <= 0 and s[t] <= 0) or (forward <= 0 and backward > 0 and s[t] > 0))


def sequential(s: np.ndarray, distance: int) -> np.ndarray:
    """One row as the paper's code has it: sort by magnitude, keep, suppress."""
    places = sorted((t for t in range(len(s)) if candidate(s, t)), key=lambda t: (-abs(s[t]), t))
    kept: list[int] = []
    for t in places:
        if all(abs(t - other) > distance for other in kept):
            kept.append(t)
    out = np.zeros_like(s)
    out[kept] = s[kept]
    return out


def competing(s: np.ndarray, distance: int) -> np.ndarray:
    """All kernels (q, n) of one window in one suppression."""
    q, n = s.shape
    places = [(t, k) for k in range(q) for t in range(n) if candidate(s[k], t)]
    places.sort(key=lambda p: (-abs(s[p[1], p[0]]), p[0], p[1]))
    kept: list[tuple[int, int]] = []
    for t, k in places:
        if all(abs(t - other) > distance for other, _ in kept):
            kept.append((t, k))
    out = np.zeros_like(s)
    for t, k in kept:
        out[k, t] = s[k, t]
    return out


def row(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(1, 1, -1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 1.1, 0, 2.7, 3.2], [0, 0, 0, 0, 3.2]), ([1.2, 0, 2.9, 7.8, 0], [0, 0, 0, 7.8, 0])],
)
def test_extrema_vectors_of_san_md(values: list[float], expected: list[float]) -> None:
    assert torch.equal(extrema(row(values), 3), row(expected))


def test_extrema_has_the_sign_gate_of_the_published_code() -> None:
    assert torch.equal(extrema(row([5.0, 4, 5, 5, 5]), 9), row([0.0, 0, 5, 0, 0]))  # a valley above zero
    assert torch.equal(extrema(row([-5.0, -6, -5, -4, -5]), 1), row([0.0, -6, 0, 0, 0]))  # a peak below zero


@pytest.mark.parametrize("n", [1, 2, 3, 5, 64, 257])
@pytest.mark.parametrize("distance", [1, 3, 16, 300])
@pytest.mark.parametrize("ties", [True, False])
def test_extrema_equals_the_sequential_reference(n: int, distance: int, ties: bool) -> None:
    rng = np.random.default_rng(1000 * n + distance)
    s = rng.integers(-3, 4, (5, 2, n)).astype(np.float32) if ties else rng.standard_normal((5, 2, n), dtype=np.float32)
    found = extrema(torch.from_numpy(s), distance).numpy()
    expected = np.stack([[sequential(s[b, k], distance) for k in range(2)] for b in range(5)])
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-2, 2), min_size=1, max_size=40), st.integers(1, 45))
def test_extrema_equals_the_reference_on_plateaus(values: list[int], distance: int) -> None:
    s = np.array(values, dtype=np.float32)
    np.testing.assert_array_equal(
        extrema(torch.from_numpy(s)[None, None], distance)[0, 0].numpy(), sequential(s, distance)
    )


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 60), st.integers(1, 70))
def test_kernels_compete_for_territory(seed: int, q: int, n: int, distance: int) -> None:
    s = np.random.default_rng(seed).integers(-4, 5, (2, q, n)).astype(np.float32)
    found = extrema(torch.from_numpy(s), distance, compete=True).numpy()
    np.testing.assert_array_equal(found, np.stack([competing(window, distance) for window in s]))


def test_extrema_takes_a_distance_per_kernel() -> None:
    s = np.random.default_rng(3).standard_normal((4, 2, 90)).astype(np.float32)
    found = extrema(torch.from_numpy(s), [2, 17]).numpy()
    for b in range(4):
        for k, distance in enumerate([2, 17]):
            np.testing.assert_array_equal(found[b, k], sequential(s[b, k], distance))
    with pytest.raises(InputError, match="1 distances for 2 kernels"):
        extrema(torch.from_numpy(s), [2])


def rounded(seed: int, *shape: int) -> torch.Tensor:
    """Few levels: plateaus, ties and zeros."""
    return torch.randint(-3, 4, shape, generator=torch.Generator().manual_seed(seed)).to(torch.float32)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.booleans())
def test_compiled_activations_equal_the_parallel_ones_of_other_devices(seed: int, n: int, ties: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(0, 12, (3,), generator=generator)
    for n_dims, shape in ((1, (2, 3, n)), (2, (2, 3, 1 + n % 11, 1 + n % 13))):
        s = rounded(seed, *shape) if ties else torch.randn(shape, generator=generator)
        for own, parallel, parameter in (
            (extrema, extrema_mask, sizes),
            (topk_absolutes, topk_mask, sizes**n_dims),
            (extrema_pool, pool_mask, sizes + 1),
        ):
            expected = torch.where(parallel(s, parameter, n_dims=n_dims), s, 0.0)
            assert torch.equal(own(s, parameter, n_dims=n_dims), expected), own


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 12), st.integers(0, 13))
def test_extrema_of_images_equal_the_sequential_reference(seed: int, h: int, w: int, distance: int) -> None:
    for s in (rounded(seed, h, w).numpy(), np.random.default_rng(seed).standard_normal((h, w)).astype(np.float32)):
        places = [(y, x) for y in range(h) for x in range(w) if candidate_of_image(s, y, x)]
        kept: list[tuple[int, int]] = []
        for y, x in sorted(places, key=lambda p: (-abs(s[p]), p)):
            if all(abs(y - b) > distance or abs(x - a) > distance for b, a in kept):
                kept.append((y, x))
        expected = np.zeros_like(s)
        for place in kept:
            expected[place] = s[place]
        np.testing.assert_array_equal(extrema(torch.from_numpy(s), distance, n_dims=2).numpy(), expected)


def candidate_of_image(s: np.ndarray, y: int, x: int) -> bool:
    """A valley along x and y, or a peak along x and y."""
    # the sign gate tells which kind it is, so both axes mean the same kind
    return candidate(s[y], x) and candidate(s[:, x], y)


def test_images_have_pools_of_m_by_m_and_the_square_of_k() -> None:
    s = torch.zeros(1, 1, 5, 5)
    s[0, 0, 1, 0], s[0, 0, 0, 1], s[0, 0, 2, 3], s[0, 0, 4, 4] = -2.0, 2.0, 1.0, 9.0
    pools = make_activation("extrema_pool", n_samples=5, kernel_samples=[2], n_dims=2)(s)
    expected = s.clone()
    expected[0, 0, 1, 0] = expected[0, 0, 4, 4] = 0  # a tie goes to the first row; row and column 4 are left over
    assert torch.equal(pools, expected)
    kept = make_activation("topk_absolutes", n_samples=5, kernel_samples=[2], n_dims=2)(torch.randn(1, 1, 5, 5))
    assert int((kept != 0).sum()) == 4


def test_annealing_multiplies_the_extrema_distance() -> None:
    s = torch.randn(1, 1, 400, generator=torch.Generator().manual_seed(2))
    kept = [
        int((make_activation("extrema", n_samples=400, kernel_samples=[23], reach=reach)(s) != 0).sum())
        for reach in (0.1, 1.0, 3.0)
    ]
    assert kept[0] > kept[1] > kept[2] > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_model_axis_changes_nothing(name: str) -> None:
    s = torch.randn(2, 3, 2, 40, generator=torch.Generator().manual_seed(5))
    sizes = [[3, 5], [7, 7], [39, 2]]
    compete = name == "extrema"
    whole = make_activation(name, n_samples=40, kernel_samples=sizes, compete=compete)(s)
    for i, own in enumerate(sizes):
        alone = make_activation(name, n_samples=40, kernel_samples=own, compete=compete)(s[:, i])
        assert torch.equal(whole[:, i], alone)


def test_topk_keeps_the_largest_magnitudes_signed_and_the_lower_index_of_equals() -> None:
    assert torch.equal(topk_absolutes(row([1, -3, 3, 2, -3]), 2), row([0, -3, 3, 0, 0]))
    assert torch.equal(topk_absolutes(row([1, -3]), 9), row([1, -3]))
    assert torch.equal(topk_absolutes(row([1, -3]), 0), row([0, 0]))


def test_extrema_pool_keeps_one_of_each_pool_and_never_the_rest() -> None:
    assert torch.equal(extrema_pool(row([1, -2, 2, 0, 5, 4, 9, 9]), 3), row([0, -2, 0, 0, 5, 0, 0, 0]))
    assert torch.equal(extrema_pool(row([1, 2]), 3), row([0, 0]))


def test_identity_and_relu() -> None:
    s = row([1, -2])
    assert torch.equal(identity(s), s)
    assert torch.equal(relu(s), row([1, 0]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sizes", [[7, 7], [5, 12]])
def test_gradients_flow_through_kept_values_alone(name: str, sizes: list[int]) -> None:
    s = torch.randn(3, 2, 60, generator=torch.Generator().manual_seed(1)).requires_grad_()
    out = make_activation(name, n_samples=60, kernel_samples=sizes)(s)
    out.sum().backward()
    assert s.grad is not None
    kept = out != 0
    assert kept.any()
    assert torch.equal(s.grad, kept.to(s.dtype))
    assert torch.equal(out[kept], s[kept])


def test_the_papers_parameters() -> None:
    assert [minimum_extrema_distance(m) for m in (1, 4, 9)] == [1, 1, 6]
    s = torch.randn(1, 1, 100)
    assert int((make_activation("topk_absolutes", n_samples=100, kernel_samples=[7])(s) != 0).sum()) == 100 // 7


def test_unknown_activations_are_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="unknown activation 'sparse'; use one of identity, relu"):
        make_activation("sparse", n_samples=9, kernel_samples=[3])
    with pytest.raises(InputError, match="no competition"):
        make_activation("relu", n_samples=9, kernel_samples=[3], compete=True)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-9, 9), min_size=1, max_size=30), st.integers(0, 40))
def test_sliding_max_is_the_maximum_within_reach(values: list[int], radius: int) -> None:
    found = sliding_max(torch.tensor(values), radius).tolist()
    assert found == [max(values[max(0, t - radius) : t + radius + 1]) for t in range(len(values))]


def test_a_falling_ramp_of_candidates_is_settled_one_by_one() -> None:
    strength = torch.arange(50.0, 0, -1)[None]
    kept = suppress(strength, torch.ones_like(strength, dtype=torch.bool), 4)
    assert torch.nonzero(kept[0]).flatten().tolist() == list(range(0, 50, 5))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-2, 2), min_size=1, max_size=40), st.integers(0, 45))
def test_suppression_in_rounds_equals_the_compiled_pass(values: list[int], distance: int) -> None:
    strength = torch.tensor([values, values[::-1]], dtype=torch.float32)
    strength[0, 0], strength[1, 0] = torch.nan, -torch.inf
    candidates = strength != 1
    kept = suppress(strength, candidates, distance)
    assert torch.equal(kept, suppress_in_rounds(strength, candidates, distance))
    assert not kept[:, 0].any()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_keeps_the_same_extrema_as_the_cpu() -> None:
    s = torch.randint(-9, 10, (8, 3, 500)).to(torch.float32)
    for name in NAMES:
        function = make_activation(name, n_samples=500, kernel_samples=[9, 9, 9])
        assert torch.equal(function(s), function(s.cuda()).cpu())
        image = make_activation(name, n_samples=20, kernel_samples=[3, 4, 5], n_dims=2)
        assert torch.equal(image(s.reshape(8, 3, 20, 25)), image(s.cuda().reshape(8, 3, 20, 25)).cpu())
    assert torch.equal(extrema(s, 20, compete=True), extrema(s.cuda(), 20, compete=True).cpu())


SIGNALS = torch.randn(2, 3, 40, generator=torch.Generator().manual_seed(4))
REFUSED = {
    "a pool of nothing": lambda: extrema_pool(SIGNALS, 0),
    "a mask of pools of nothing": lambda: pool_mask(SIGNALS, 0),
    "a negative distance": lambda: extrema(SIGNALS, -1),
    "a distance of a fraction": lambda: extrema(SIGNALS, 2.7),  # type: ignore[arg-type]
    "fewer than none": lambda: topk_absolutes(SIGNALS, -1),
    "sizes for other kernels": lambda: extrema_pool(SIGNALS, [1, 2]),
    "an image of one side": lambda: extrema(torch.randn(9), 3, n_dims=2),
    "half precision": lambda: extrema(SIGNALS.half(), 3),
    "integers": lambda: topk_absolutes(torch.ones(2, 5, dtype=torch.int64), 3),
    "not a number": lambda: extrema_pool(torch.tensor([1.0, torch.nan, 3.0, -4.0]), 2),
    "not a number, in rounds": lambda: extrema_mask(torch.tensor([1.0, torch.nan, 3.0, -4.0]), 2),
    "kernels of nothing": lambda: make_activation("topk_absolutes", n_samples=10, kernel_samples=[0]),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_activations_refuse(what: str) -> None:
    with pytest.raises(InputError):
        REFUSED[what]()


@pytest.mark.parametrize("shape", [(2, 1, 0), (0, 3, 9)])
def test_nothing_gives_nothing(shape: tuple[int, ...]) -> None:
    s = torch.zeros(shape)
    for found in (extrema(s, 3), extrema_mask(s, 3), topk_absolutes(s, 2), topk_mask(s, 2), extrema_pool(s, 2)):
        assert found.shape == s.shape
