"""Kernels learned for pursuit: encode, bring kernels and amplitudes down the gradient of phi-bar, and so on.

Every number of a kernel is paid for (W), so kernels are born where windows are badly explained and stay only
where they lower phi-bar.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from sanstream.errors import InputError
from sanstream.san.encoders import ByPhi, Encoded, draw, pursue
from sanstream.san.encoders_plan import frame
from sanstream.san.prototypes import Dictionary, fitted


@dataclass(frozen=True)
class Course:
    """How a dictionary is learned.

    Parameters
    ----------
    n_rounds : int
        Rounds of encoding and descent; the round of least validation phi-bar is kept.
    n_steps : int
        Adam's steps in a round.
    rate : float
        Its step beside the RMS of what it changes; it falls fiftyfold in a round.
    share : int
        T, windows that share W.
    numbers : int, optional
        Numbers that an activation costs; D + 1 when not given.
    max_windows : int
        Windows drawn anew for each round (all where there are fewer).
    sweeps : int
        Of the pursuit, while learning and in validation.
    seed : int
    """

    n_rounds: int = 8
    n_steps: int = 150
    rate: float = 0.02
    share: int = 1
    numbers: int | None = None
    max_windows: int = 256
    sweeps: int = 1
    seed: int = 0

    def stop(self, dictionary: Dictionary) -> ByPhi:
        """Give the pursuit's stop rule."""
        return ByPhi(n_weights=dictionary.n_weights / self.share, numbers=self.numbers)


@dataclass(frozen=True)
class Learned:
    """A dictionary and how it came.

    Parameters
    ----------
    dictionary : Dictionary
    phi : float
        Validation phi-bar.
    history : tuple of float
        Validation phi-bar before each round and after the last.
    """

    dictionary: Dictionary
    phi: float
    history: tuple[float, ...] = field(default=())


def phi_bar(encoded: Encoded, stop: ByPhi) -> float:
    """Mean phi over windows, example by example.

    Parameters
    ----------
    encoded : Encoded
    stop : ByPhi
        Says what W and an activation cost.

    Returns
    -------
    float
    """
    n, dims = encoded.reconstruction[0].numel(), encoded.reconstruction.ndim - 1
    numbers = dims + 1 if stop.numbers is None else stop.numbers
    return float(torch.hypot((stop.n_weights + numbers * encoded.n_activations) / n, encoded.rl).mean())


def encode(windows: Tensor, dictionary: Dictionary, course: Course, *, sweeps: int | None = None) -> Encoded:
    """Encode windows as learning does: orthogonal pursuit, absolute refit, the course's sweeps (or those given)."""
    rounds = course.sweeps if sweeps is None else sweeps
    return pursue(windows, dictionary.kernels(), refit="absolute", stop=course.stop(dictionary), sweeps=rounds)


def learn(windows: Tensor, validation: Tensor, start: Dictionary, course: Course) -> Learned:
    """Learn the prototypes of a dictionary whose members stay as they are.

    Parameters
    ----------
    windows, validation : Tensor, shape (B, n) or (B, h, w)
        Kernels are fitted to the first; the second chooses the round.
    start : Dictionary
    course : Course

    Returns
    -------
    Learned

    Raises
    ------
    InputError
        When there are no windows to learn from or to choose by.
    """
    if len(windows) == 0 or len(validation) == 0:
        raise InputError(f"cannot learn from {len(windows)} windows and choose by {len(validation)}; needs one of each")
    generator = torch.Generator().manual_seed(course.seed)
    now, best, history = start, None, []
    for turn in range(course.n_rounds + 1):
        phi = phi_bar(encode(validation, now, course), course.stop(now))
        history.append(phi)
        if best is None or phi < best.phi:
            best = Learned(now, phi)
        if turn < course.n_rounds:
            some = windows[torch.randperm(len(windows), generator=generator)[: course.max_windows].to(windows.device)]
            now = descend(some, now, encode(some, now, course), course)
    assert best is not None
    return Learned(best.dictionary, best.phi, tuple(history))


def descend(windows: Tensor, dictionary: Dictionary, encoded: Encoded, course: Course) -> Dictionary:
    """Bring prototypes and amplitudes down phi-bar, activations where they stand; prototypes get norm 1.

    Parameters
    ----------
    windows : Tensor, shape (B, n) or (B, h, w)
    dictionary : Dictionary
    encoded : Encoded
        Of the same windows by the same dictionary.
    course : Course

    Returns
    -------
    Dictionary
        That of the least phi-bar met; the one given where there are no activations.
    """
    if len(encoded.window) == 0:
        return dictionary
    x = windows.to(torch.float64).reshape(len(windows), -1, windows.shape[-1])
    first = torch.nn.functional.pad(encoded.index, (2 - encoded.index.shape[1], 0))
    size = x.abs().sum(dim=(1, 2)).clamp_min(1e-12)
    stop = course.stop(dictionary)
    numbers = windows.ndim if stop.numbers is None else stop.numbers
    cost = (stop.n_weights + numbers * encoded.n_activations) / x[0].numel()
    # the steps are relative: amplitudes and kernels may be of any size
    changed = [p.detach().clone().to(x) for p in dictionary.prototypes] + [encoded.amplitude.clone()]
    groups = [
        {"params": [p.requires_grad_()], "lr": course.rate * float(p.detach().pow(2).mean().sqrt())} for p in changed
    ]
    adam = torch.optim.Adam(groups, betas=(0.9, 0.99))
    fall = 0.02 ** (1 / max(1, course.n_steps))
    least, best = float("inf"), dictionary.prototypes
    for _ in range(course.n_steps):
        taps, _ = frame(windows, dictionary.with_prototypes(tuple(changed[:-1])).kernels())
        drawn = draw(encoded.window, encoded.kernel, first, changed[-1], taps, len(x), (x.shape[1], x.shape[2]))
        loss = torch.hypot(cost, (x - drawn).abs().sum(dim=(1, 2)) / size).mean()
        if float(loss.detach()) < least:
            least, best = float(loss.detach()), tuple(p.detach().clone() for p in changed[:-1])
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        for group in adam.param_groups:
            group["lr"] *= fall
    return dictionary.with_prototypes(tuple(p / p.norm().clamp_min(1e-12) for p in best))


def pruned(windows: Tensor, dictionary: Dictionary, course: Course) -> Dictionary:
    """Drop members, least used first, whose W costs more phi-bar on the windows than they give.

    Parameters
    ----------
    windows : Tensor, shape (B, n) or (B, h, w)
        Training windows.
    dictionary : Dictionary
    course : Course

    Returns
    -------
    Dictionary
        With at least one member.
    """
    encoded = encode(windows, dictionary, course, sweeps=0)
    phi = phi_bar(encoded, course.stop(dictionary))
    uses = torch.bincount(encoded.kernel, minlength=len(dictionary.members)).tolist()
    left = list(range(len(dictionary.members)))
    for member in sorted(left, key=lambda k: uses[k]):
        if len(left) == 1:
            break
        fewer = dictionary.without(left.index(member))
        value = phi_bar(encode(windows, fewer, course, sweeps=0), course.stop(fewer))
        if value <= phi:
            dictionary, phi = fewer, value
            left.remove(member)
    return dictionary


def born(
    windows: Tensor, dictionary: Dictionary, course: Course, *, numbers: int | None, samples: tuple[int, ...]
) -> Dictionary:
    """Add a prototype made of the worst explained piece of the windows.

    Parameters
    ----------
    windows : Tensor, shape (B, n) or (B, h, w)
    dictionary : Dictionary
    course : Course
    numbers : int or None
        P of the prototype; None makes a kernel that stands as it is.
    samples : tuple of int
        Sizes at which it is seen; the first is that of the piece.

    Returns
    -------
    Dictionary
    """
    residual = windows.to(torch.float64) - encode(windows, dictionary, course, sweeps=0).reconstruction
    wide = residual.reshape(len(residual), 1, -1, residual.shape[-1])
    m = samples[0]
    extent = (m if windows.ndim == 3 else 1, m)
    loss = torch.nn.functional.avg_pool2d(wide.abs(), extent, 1)[:, 0]
    window, row, column = (int(v) for v in torch.unravel_index(loss.argmax(), loss.shape))
    piece = wide[window, 0, row : row + extent[0], column : column + m].reshape([m] * (windows.ndim - 1))
    if numbers is None:
        return dictionary.joined(piece / piece.norm().clamp_min(1e-12), (None,))
    return dictionary.joined(fitted(piece, numbers), samples)


def grow(
    windows: Tensor,
    validation: Tensor,
    start: Dictionary,
    course: Course,
    *,
    births: tuple[tuple[int | None, tuple[int, ...]], ...],
) -> Learned:
    """Learn, let prototypes be born and members die, as long as validation phi-bar falls.

    Parameters
    ----------
    windows, validation, start, course
        As for :func:`learn`.
    births : tuple of (numbers or None, samples)
        What is tried, in this order, each as often as it helps; see :func:`born`.

    Returns
    -------
    Learned
    """
    best = learn(windows, validation, start, course)
    for numbers, samples in births:
        while True:
            some = windows[: course.max_windows]
            more = born(some, best.dictionary, course, numbers=numbers, samples=samples)
            found = learn(windows, validation, pruned(some, more, course), course)
            if found.phi >= best.phi:
                break
            best = found
    fewer = pruned(windows[: course.max_windows], best.dictionary, course)
    if len(fewer.members) < len(best.dictionary.members):
        found = learn(windows, validation, fewer, course)
        best = found if found.phi < best.phi else best
    return best
