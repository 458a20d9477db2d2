"""Orthogonal matching pursuit stopped by phi: the fixed rule by which drift is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sanstream.san.correlation import check_shapes, cross_correlation
from sanstream.san.pursuit_compiled import pursue_compiled
from sanstream.san.refitting import atoms
from sanstream.san.selection import Activations, ordered

_CHUNK_ELEMENTS = 1 << 22


@dataclass(frozen=True)
class Pursuit:
    """What a pursuit chose and how well it represents each window.

    Parameters
    ----------
    activations : Activations
        Amplitudes are in the units of the windows given.
    phi : Tensor, shape (B,), float64
        ``hypot(cost, rl)``, kernels left out (W = 0).
    rl : Tensor, shape (B,), float64
        Relative loss, mean over the channels that are not constant.
    n_activations : Tensor, shape (B,), int64
    """

    activations: Activations
    phi: Tensor
    rl: Tensor
    n_activations: Tensor


@dataclass
class _State:
    """One chunk of windows under pursuit; every window here has the same number of atoms."""

    row: Tensor  # (b,) window in the chunk's input
    x: Tensor  # (b, C, n) normalised windows
    residual: Tensor  # (b, C, n)
    design: Tensor  # (b, Ck, capacity, n) unit atoms
    factor: Tensor  # (b, Ck, capacity, capacity) lower Cholesky factor of the Gram matrix
    kept: Tensor  # (b,) atoms of the best fit so far
    phi: Tensor  # (b,) of the best fit
    rl: Tensor  # (b,) of the best fit
    amplitude: Tensor  # (b, C, capacity) of unit atoms, of the best fit
    kernel: Tensor  # (b, capacity)
    index: Tensor  # (b, capacity)

    def keep(self, mask: Tensor) -> _State:
        return _State(**{name: value[mask] for name, value in self.__dict__.items()})

    def grow(self) -> None:
        """Double the capacity."""
        size = self.design.shape[2]
        self.design = torch.cat([self.design, torch.zeros_like(self.design)], dim=2)
        self.factor = torch.nn.functional.pad(self.factor, (0, size, 0, size))
        self.amplitude = torch.nn.functional.pad(self.amplitude, (0, size))
        self.kernel = torch.nn.functional.pad(self.kernel, (0, size))
        self.index = torch.nn.functional.pad(self.index, (0, size))


def omp(
    windows: Tensor,
    kernels: Tensor,
    *,
    stop: Literal["phi"] | int = "phi",
    patience: int = 8,
    max_activations: int | None = None,
    compiled: bool | None = None,
) -> Pursuit:
    """Orthogonal matching pursuit over whole windows, all channels sharing kernel and index.

    Each step adds the (kernel, index) that explains most energy of the residual and refits all
    amplitudes by least squares. Each window and channel has its mean removed and is scaled to
    mean absolute value 1 (a constant channel becomes zero and counts nowhere), so phi does not
    depend on units. Positions are SAN's own: the kernel's middle tap lies inside the window.

    Parameters
    ----------
    windows : Tensor, shape (B, C, n), float32
    kernels : Tensor, shape (q, Ck, m), float32
    stop : ``"phi"`` or int
        ``"phi"`` adds while that lowers ``hypot(c, RL)``; an activation costs ``(1 + C)/(C n)``
        numbers per sample value, ``2/n`` for one channel (san.md section 7). A number adds that many.
    patience : int
        Additions in a row that may fail to lower phi before the pursuit ends; the fit of least phi
        is kept. Additions are chosen by squares and phi counts absolutes, so single ones may fail
        on the way down: stopping at the first left windows of record 100 at phi .68 instead of .29.
    max_activations : int, optional
        Upper bound per window; n when not given.
    compiled : bool, optional
        Whether the compiled loop runs (on the CPU only, many times quicker there) or batched torch;
        when not given, the loop wherever the windows are on the CPU.

    Returns
    -------
    Pursuit

    Raises
    ------
    InputError
        On shapes that do not belong together.
    """
    batch, channels, n, _, _ = check_shapes(windows, kernels)
    limit = min(n if max_activations is None else max_activations, stop if isinstance(stop, int) else n)
    step = max(1, _CHUNK_ELEMENTS // (16 * n * channels))
    waiting = max(1, patience) if stop == "phi" else None
    centred = windows - windows.mean(dim=2, keepdim=True)
    scale = centred.abs().mean(dim=2, keepdim=True)
    flat = scale <= 1e-6 * windows.abs().amax(dim=2, keepdim=True)
    x = torch.where(flat, 0.0, centred / torch.where(flat, 1.0, scale))
    scale = torch.where(flat, 0.0, scale)
    inverse = _inverse_norms(kernels, n)
    pursue = pursue_compiled if (x.device.type == "cpu" if compiled is None else compiled) else _pursue
    parts: list[Activations] = []
    rl = torch.zeros(batch, dtype=torch.float64, device=windows.device)
    for start in range(0, batch, step):
        for part, loss, rows in pursue(x[start : start + step], kernels, inverse, limit, waiting):
            rl[rows + start] = loss.to(torch.float64)
            amplitude = part.amplitude * scale[part.window + start, :, 0]
            parts.append(Activations(part.window + start, part.kernel, part.index, amplitude))
    chosen = ordered(
        torch.cat([p.window for p in parts] or [torch.zeros(0, dtype=torch.int64, device=windows.device)]),
        torch.cat([p.kernel for p in parts] or [torch.zeros(0, dtype=torch.int64, device=windows.device)]),
        torch.cat([p.index for p in parts] or [torch.zeros(0, dtype=torch.int64, device=windows.device)]),
        torch.cat([p.amplitude for p in parts] or [torch.zeros((0, channels), device=windows.device)]),
    )
    counts = chosen.counts(batch)
    cost = counts.to(torch.float64) * (1 + channels) / (channels * n)
    return Pursuit(chosen, torch.hypot(cost, rl), rl, counts)


def flithos_of_windows(windows: Tensor, kernels: Tensor) -> tuple[Tensor, Tensor]:
    """Give phi of each window by the fixed rule of :func:`omp`, W left out.

    Parameters
    ----------
    windows : Tensor, shape (B, C, n), float32
    kernels : Tensor, shape (q, Ck, m), float32

    Returns
    -------
    phi : Tensor, shape (B,), float64
    n_activations : Tensor, shape (B,), int64

    Raises
    ------
    InputError
        On shapes that do not belong together.
    """
    found = omp(windows, kernels)
    return found.phi, found.n_activations


def _relative_loss(residual: Tensor, live: Tensor) -> Tensor:
    """Mean absolute residual over the live channels, which have mean absolute value 1."""
    return (residual.abs().mean(dim=2) * live).sum(dim=1) / live.sum(dim=1).clamp_min(1)


def _begin(x: Tensor, kernels: Tensor, live: Tensor) -> _State:
    batch, channels, n = x.shape
    size, taps = 16, kernels.shape[1]
    rl = _relative_loss(x, live)
    return _State(
        row=torch.arange(batch, device=x.device),
        x=x,
        residual=x,
        design=x.new_zeros((batch, taps, size, n)),
        factor=x.new_zeros((batch, taps, size, size)),
        kept=torch.zeros(batch, dtype=torch.int64, device=x.device),
        phi=rl,
        rl=rl,
        amplitude=x.new_zeros((batch, channels, size)),
        kernel=torch.zeros((batch, size), dtype=torch.int64, device=x.device),
        index=torch.zeros((batch, size), dtype=torch.int64, device=x.device),
    )


def _pursue(
    x: Tensor, kernels: Tensor, inverse: Tensor, limit: int, patience: int | None
) -> list[tuple[Activations, Tensor, Tensor]]:
    """Pursue one chunk; returns (activations, RL, rows) for each group of windows that ended together.

    Without ``patience`` the fit of ``limit`` atoms is taken, otherwise the one of least phi.
    """
    _, channels, n = x.shape
    live = x.abs().amax(dim=2) > 0
    state = _begin(x, kernels, live)
    price = (1 + channels) / (channels * n)
    left = (kernels.shape[2] - 1) // 2
    done = []
    for count in range(1, limit + 1):
        if count > state.design.shape[2]:
            state.grow()
        amplitude, found = _add_best(state, kernels, inverse, count - 1)
        rl = _relative_loss(state.residual, live[state.row])
        phi = torch.hypot(torch.full_like(rl, count * price), rl)
        better = found & ((phi < state.phi) if patience is not None else torch.ones_like(found))
        state.kept = torch.where(better, count, state.kept)
        state.phi, state.rl = torch.where(better, phi, state.phi), torch.where(better, rl, state.rl)
        state.amplitude = torch.where(better[:, None, None], amplitude, state.amplitude)
        going = found & (count - state.kept < (patience or limit))
        if not bool(going.all()):
            done.append(_finish(state.keep(~going), inverse, left))
            state = state.keep(going)
        if len(state.row) == 0:
            break
    if len(state.row):
        done.append(_finish(state, inverse, left))
    return done


def _inverse_norms(kernels: Tensor, n: int) -> Tensor:
    """1/norm of each kernel over its overlap, (Ck, q, n), for the n positions of same padding; 0 if empty."""
    m = kernels.shape[2]
    ones = torch.ones((1, 1, n), dtype=kernels.dtype, device=kernels.device)
    squares = (kernels * kernels).transpose(0, 1).reshape(-1, 1, m)
    norm = cross_correlation(ones, squares)[0, 0].reshape(kernels.shape[1], kernels.shape[0], n + m - 1)
    norm = norm[..., m - 1 - (m - 1) // 2 :][..., :n].clamp_min(0.0)
    usable = norm > 1e-6 * norm.amax(dim=2, keepdim=True).clamp_min(1e-30)
    return torch.where(usable, norm.clamp_min(1e-30).rsqrt(), 0.0)


def _add_best(state: _State, kernels: Tensor, inverse: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Put each window's atom of most residual energy in slot ``count`` and fit all atoms anew.

    Returns the amplitudes (b, C, capacity) and whether there was an atom with any energy (b,); the
    state gets the new residual.
    """
    n, m = state.x.shape[2], kernels.shape[2]
    left = (m - 1) // 2
    inner = cross_correlation(state.residual, kernels)[..., m - 1 - left :][..., :n]
    best, place = ((inner * inverse[None]) ** 2).sum(dim=1).flatten(1).max(dim=1)
    kernel, position = place // n, place % n
    unit = atoms(kernels, kernel, position - left, n) * inverse[:, kernel, position].transpose(0, 1)[..., None]
    _extend_factor(state, unit, count)
    state.design[:, :, count] = unit
    state.kernel[:, count], state.index[:, count] = kernel, position - left
    used = state.design[:, :, : count + 1]
    shared = used.shape[1] == 1
    target = state.x @ used[:, 0].transpose(1, 2) if shared else (used @ state.x[..., None])[..., 0]
    factor = state.factor[:, :, : count + 1, : count + 1].expand(-1, state.x.shape[1], -1, -1)
    solved = torch.cholesky_solve(target[..., None], factor)[..., 0]
    model = solved @ used[:, 0] if shared else (solved[..., None, :] @ used)[..., 0, :]
    amplitude = torch.nn.functional.pad(solved, (0, state.amplitude.shape[2] - count - 1))
    state.residual = state.x - model
    return amplitude, best > 0


def _extend_factor(state: _State, unit: Tensor, count: int) -> None:
    """Append one row to the Cholesky factor of the Gram matrix of unit atoms."""
    corner = torch.ones(unit.shape[:2], dtype=unit.dtype, device=unit.device)
    if count:
        cross = state.design[:, :, :count] @ unit[..., None]
        row = torch.linalg.solve_triangular(state.factor[:, :, :count, :count], cross, upper=False)[..., 0]
        state.factor[:, :, count, :count] = row
        corner = (1.0 - (row * row).sum(dim=-1)).clamp_min(1e-6).sqrt()
    state.factor[:, :, count, count] = corner


def _finish(state: _State, inverse: Tensor, left: int) -> tuple[Activations, Tensor, Tensor]:
    """Read the best fit of each window as activations of the kernels as given."""
    window, slot = torch.nonzero(
        torch.arange(state.kernel.shape[1], device=state.row.device) < state.kept[:, None], as_tuple=True
    )
    kernel, index = state.kernel[window, slot], state.index[window, slot]
    norm = inverse[:, kernel, index + left].transpose(0, 1)
    amplitude = state.amplitude[window, :, slot] * norm
    return Activations(state.row[window], kernel, index, amplitude), state.rl, state.row
