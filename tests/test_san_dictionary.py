"""Dictionaries: what their numbers cost, prototypes at scales, and kernels learned, born and dropped for pursuit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from sanstream.errors import InputError
from sanstream.san.dictionary import Course, born, encode, grow, learn, phi_bar, pruned
from sanstream.san.prototypes import Dictionary, Member, bump, fitted, spline_basis, stretched

COURSE = Course(n_rounds=4, n_steps=60, sweeps=0)


def wave(m: int) -> Tensor:
    t = torch.linspace(-1, 1, m, dtype=torch.float64)
    shape = torch.sin(5 * t) * torch.exp(-3 * t**2)
    return shape / shape.norm()


def planted(kernels: list[Tensor], *, count: int = 8, n: int = 200, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    x = 0.01 * torch.from_numpy(rng.normal(size=(count, n)))
    for row in x:
        for k in kernels:
            for _ in range(3):
                at = int(rng.integers(0, n - len(k)))
                row[at : at + len(k)] += (2 + rng.random()) * k
    return x


def test_a_prototype_is_counted_once_and_every_scale_as_one_number() -> None:
    both = Dictionary((bump(6), wave(20)), (Member(0, 8), Member(0, 30), Member(1)))
    assert both.n_weights == 6 + 2 + 20
    assert [k.shape for k in both.kernels()] == [(8,), (30,), (20,)]
    assert both.without(2).n_weights == 8
    assert both.without(2).prototypes[0] is both.prototypes[0]
    assert both.without(0).without(0).members == (Member(0),)
    assert both.joined(bump(4), (9, 12)).n_weights == 28 + 4 + 2


def test_a_stretched_prototype_keeps_its_shape_and_ends_at_zero() -> None:
    inside = spline_basis(6, 900)[300:600].sum(dim=1)
    torch.testing.assert_close(inside, torch.ones(300, dtype=torch.float64))
    assert float(spline_basis(6, 900)[[0, -1]].abs().max()) < 1e-6
    wide, narrow = stretched(bump(6), 90), stretched(bump(6), 30)
    torch.testing.assert_close(wide[1::3], narrow)
    assert stretched(bump(4, 2), 9).shape == (9, 9)
    assert stretched(wave(20), None).tolist() == wave(20).tolist()


@pytest.mark.parametrize("dims", [1, 2])
def test_a_prototype_is_found_again_in_its_stretched_form(dims: int) -> None:
    prototype = torch.from_numpy(np.random.default_rng(0).normal(size=(5,) * dims))
    torch.testing.assert_close(fitted(3 * stretched(prototype, 23), 5), prototype / prototype.norm())


def test_learning_finds_the_kernel_that_was_planted() -> None:
    x = planted([wave(16)], n=120)
    start = Dictionary((wave(16) + 0.3 * bump(16),), (Member(0),))
    found = learn(x[:6], x[6:], start, COURSE)
    assert found.phi < 0.8 * found.history[0]
    assert abs(float(found.dictionary.prototypes[0] @ wave(16))) > 0.94


def test_learning_at_scales_lowers_phi_in_two_dimensions_too() -> None:
    rng = np.random.default_rng(0)
    images = torch.zeros(4, 16, 16, dtype=torch.float64)
    for image in images:
        for m in (5, 8):
            i, j = rng.integers(0, 16 - m, 2)
            image[i : i + m, j : j + m] += stretched(wave(4)[:, None] * bump(4), m)
    start = Dictionary((bump(4, 2) + wave(4)[:, None],), (Member(0, 5), Member(0, 8)))
    found = learn(images[:3], images[3:], start, Course(n_rounds=3, n_steps=60, sweeps=0, share=100))
    assert found.phi < 0.8 * found.history[0]


def test_a_kernel_that_costs_more_than_it_gives_is_dropped() -> None:
    x = planted([wave(16)], n=120)
    useless = torch.from_numpy(np.random.default_rng(1).normal(size=40))
    fat = Dictionary((wave(16), useless / useless.norm()), (Member(0), Member(1)))
    lean = pruned(x, fat, COURSE)
    assert [len(k) for k in lean.kernels()] == [16]
    assert len(pruned(x, lean, COURSE).members) == 1


def test_a_kernel_is_born_where_windows_are_badly_explained() -> None:
    other = torch.sign(wave(12)) / 12**0.5
    x = planted([wave(16), other], n=200)
    start = Dictionary((wave(16),), (Member(0),))
    more = born(x, start, COURSE, numbers=None, samples=(12,))
    assert [len(k) for k in more.kernels()] == [16, 12]
    assert phi_bar(encode(x, more, COURSE), COURSE.stop(more)) < phi_bar(encode(x, start, COURSE), COURSE.stop(start))
    at_scales = born(x, start, COURSE, numbers=5, samples=(12, 24))
    assert [len(k) for k in at_scales.kernels()] == [16, 12, 24]
    grown = grow(x[:6], x[6:], start, Course(n_rounds=1, n_steps=30, sweeps=0, share=8), births=((None, (12,)),))
    assert len(grown.dictionary.members) >= 2


def test_what_cannot_be_learned_is_said() -> None:
    with pytest.raises(InputError, match="from 0 windows and choose by 2"):
        learn(torch.zeros(0, 50), torch.zeros(2, 50), Dictionary((bump(5),), (Member(0),)), COURSE)
    with pytest.raises(InputError, match="do not fit 1 prototypes"):
        Dictionary((bump(5),), (Member(1),))
