"""The largest step whose error lies just below a bound."""

from __future__ import annotations

from collections.abc import Callable


def largest(reached: Callable[[float], float], bound: float, *, start: float, n_halvings: int = 12) -> float:
    """Find the largest step that keeps a bound.

    Parameters
    ----------
    reached : callable
        Error of a step, about rising with it.
    bound : float
        Largest error allowed, positive.
    start : float
        Where to look first, positive.
    n_halvings : int
        Halvings of the last octave.

    Returns
    -------
    float
        A step that was tried and kept the bound.

    Raises
    ------
    ValueError
        When no step within 2^60 of ``start`` keeps the bound.
    """
    low = start
    for _ in range(60):
        if reached(low) <= bound:
            break
        low /= 2
    else:
        raise ValueError(f"no step below {start:g} keeps the error under {bound:g}")
    high = 2 * low
    for _ in range(60):
        if reached(high) > bound:
            break
        low, high = high, 2 * high
    for _ in range(n_halvings):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if reached(middle) <= bound else (low, middle)
    return low
