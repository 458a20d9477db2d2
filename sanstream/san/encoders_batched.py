"""The encoders in torch: the same steps as the compiled loops, all windows of a chunk side by side, on any device."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sanstream.san.encoders_plan import Found, Plan

_CHUNK_ELEMENTS = 1 << 25


@dataclass
class _Batch:
    """A chunk of windows and its kernels; n = h w samples a window."""

    x: Tensor  # (b, h, w)
    taps: Tensor  # (q, a, c)
    sizes: Tensor  # (q, 2)
    rules: Tensor  # (b, 5)
    inverse: Tensor  # (q, h, w) 1/norm inside the window, 0 where empty

    def atoms(self, chosen: Tensor) -> Tensor:
        """Kernels cut to the window, (b, k, n), of slots (b, k, 3)."""
        (h, w), (a, c) = self.x.shape[1:], self.taps.shape[1:]
        row = torch.arange(h, device=self.x.device) - chosen[..., 1, None]
        column = torch.arange(w, device=self.x.device) - chosen[..., 2, None]
        inside = ((row >= 0) & (row < a))[..., :, None] & ((column >= 0) & (column < c))[..., None, :]
        place = (chosen[..., 0, None, None] * a + row.clamp(0, a - 1)[..., :, None]) * c
        flat = self.taps.reshape(-1)[place + column.clamp(0, c - 1)[..., None, :]]
        return torch.where(inside, flat, 0.0).flatten(2)

    def correlate(self, residual: Tensor) -> Tensor:
        """Inner products (b, q, h, w) of all kernels at all places with residuals (b, n)."""
        (h, w), (a, c) = self.x.shape[1:], self.taps.shape[1:]
        wide = functional.pad(residual.reshape(-1, 1, h, w), (c, c, a, a))
        inner = functional.conv2d(wide, self.taps[:, None])
        return torch.stack(
            [
                inner[:, k, a - (s - 1) // 2 :, c - (t - 1) // 2 :][:, :h, :w]
                for k, (s, t) in enumerate(self.sizes.tolist())
            ],
            dim=1,
        )

    def first_taps(self, place: Tensor) -> Tensor:
        """Slots (..., 3) of flat places (...) in (q, h, w)."""
        h, w = self.x.shape[1:]
        kernel, row, column = place // (h * w), place // w % h, place % w
        left = (self.sizes[kernel] - 1) // 2
        return torch.stack([kernel, row - left[..., 0], column - left[..., 1]], dim=-1)

    def value(self, counts: Tensor, error: Tensor) -> Tensor:
        """Value what is made small, (b,); see ``_loops_greedy.objective``."""
        kind, cost, paid, size, n = self.rules.unbind(dim=1)
        loss = torch.where(size > 0, error / torch.where(size > 0, size, 1.0), 0.0)
        bits = counts * cost + n * torch.log2(1.0 + 2.0 * math.e * loss)
        phi = torch.hypot((paid + counts * cost) / n, loss)
        return torch.where(kind == 0, phi, torch.where(kind == 1, bits, loss - 4.0 * counts))


def encode_batched(x: Tensor, taps: Tensor, sizes: Tensor, rules: Tensor, plan: Plan, limit: int) -> Found:
    """Encode windows; parameters as for :func:`sanstream.san.encoders_compiled.encode_compiled`, on any device."""
    taps = taps.detach()
    empty = _Batch(x, taps, sizes, rules, taps)
    energy = _Batch(x, taps**2, sizes, rules, taps).correlate(torch.ones_like(x[:1]).flatten(1))[0]
    whole = (taps**2).sum(dim=(1, 2))[:, None, None]
    usable = (energy > 1e-6 * whole) & (energy > 1e-24)
    inverse = torch.where(usable, torch.where(usable, energy, 1.0).rsqrt(), 0.0)
    step = max(1, _CHUNK_ELEMENTS // (x[0].numel() * 64))
    parts = []
    for start in range(0, len(x), step):
        some = slice(start, start + step)
        batch = _Batch(x[some], empty.taps, sizes, rules[some], inverse)
        found, tried = _pursue(batch, plan, limit)
        if plan.sweeps:
            found = _drop(
                batch, Found(found.chosen, found.amplitude, tried), plan, plan.patience + tried - found.counts
            )
        elif plan.turns >= 0:
            found = _fit(batch, found, plan.turns)
        for _ in range(plan.sweeps):
            found, better = _sweep(batch, found, plan)
            if not better:
                break
        parts.append(found)
    used = max(int(p.counts.max()) for p in parts)
    chosen = [_resized(p.chosen, used) for p in parts]
    return Found(
        torch.cat(chosen), torch.cat([_resized(p.amplitude, used) for p in parts]), torch.cat([p.counts for p in parts])
    )


def fit_batched(x: Tensor, taps: Tensor, sizes: Tensor, found: Found, turns: int) -> Found:
    """Fit the amplitudes of given activations anew, all windows at once."""
    return _fit(_Batch(x, taps.detach(), sizes, x.new_zeros((len(x), 5)), taps), found, turns)


def _resized(slots: Tensor, size: int) -> Tensor:
    """Cut or pad the slots of a table (b, k, ...)."""
    missing = max(0, size - slots.shape[1])
    return torch.cat([slots[:, :size], slots.new_zeros((len(slots), missing, *slots.shape[2:]))], dim=1)


def _used(found: Found) -> Tensor:
    """Which slots (b, k) are in use."""
    return torch.arange(found.amplitude.shape[1], device=found.counts.device) < found.counts[:, None]


def _residual(batch: _Batch, found: Found) -> Tensor:
    """Take the activations out of the windows, (b, n)."""
    amplitude = torch.where(_used(found), found.amplitude, 0.0)
    return batch.x.flatten(1) - (amplitude[:, None] @ batch.atoms(found.chosen))[:, 0]


def _solve(atoms: Tensor, weighted: Tensor, target: Tensor, used: Tensor) -> Tensor:
    """Least squares (b, k) of targets (b, n) under weights already in ``weighted``; unused slots give 0."""
    matrix = weighted @ atoms.transpose(1, 2)
    diagonal = torch.diagonal(matrix, dim1=1, dim2=2)
    ridge = torch.where(used & (diagonal > 0), diagonal * 1e-9, 1.0)
    factor = torch.linalg.cholesky(matrix + torch.diag_embed(ridge))
    return torch.cholesky_solve(weighted @ target[..., None], factor)[..., 0]


def _pursue(batch: _Batch, plan: Plan, limit: int) -> tuple[Found, Tensor]:
    """Give the best fit of each window, and how many atoms stand in its slots."""
    b, target = len(batch.x), batch.x.flatten(1)
    chosen = torch.zeros((b, 0, 3), dtype=torch.int64, device=target.device)
    now = target.new_zeros((b, 0))
    kept_amplitude = now
    residual = target.clone()
    count, kept, waited = (torch.zeros(b, dtype=torch.int64, device=target.device) for _ in range(3))
    best = batch.value(count, target.abs().sum(dim=1))
    least = 1e-14 * (target * target).sum(dim=1)
    going = torch.ones(b, dtype=torch.bool, device=target.device)
    while True:
        inner = batch.correlate(residual).flatten(1)
        unit = inner * batch.inverse.flatten()
        energy, place = (unit * unit).max(dim=1)
        atom = batch.first_taps(place)
        used = torch.arange(chosen.shape[1], device=target.device) < count[:, None]
        same = used & (chosen == atom[:, None]).all(dim=2)
        met = same.any(dim=1)
        going = going & (energy > least) & (met | (count < limit)) & (~met if plan.orthogonal else True)
        if not bool(going.any()):
            break
        size = int((count + (going & ~met)).max())
        chosen, now, kept_amplitude = _resized(chosen, size), _resized(now, size), _resized(kept_amplitude, size)
        slot = torch.where(met, _resized(same, size).to(torch.int8).argmax(dim=1), count)
        rows = torch.nonzero(going)[:, 0]
        chosen[rows, slot[rows]] = atom[rows]
        count = count + (going & ~met)
        used = torch.arange(size, device=target.device) < count[:, None]
        atoms = torch.where(used[..., None], batch.atoms(chosen), 0.0)
        if plan.orthogonal:
            fitted = _solve(atoms, atoms, target, used)
            now = torch.where(going[:, None], fitted, now)
        else:
            step = inner.gather(1, place[:, None])[:, 0] * batch.inverse.flatten()[place] ** 2
            now[rows, slot[rows]] += step[rows]
        residual = target - (now[:, None] @ atoms)[:, 0]
        value = batch.value(count, residual.abs().sum(dim=1))
        better = going & (value < best)
        best, kept = torch.where(better, value, best), torch.where(better, count, kept)
        kept_amplitude = torch.where(better[:, None], now, kept_amplitude)
        waited = torch.where(better, 0, waited + going)
        going = going & (waited < plan.patience)
    in_best = torch.arange(chosen.shape[1], device=target.device) < kept[:, None]
    return Found(chosen, torch.where(in_best, kept_amplitude, 0.0), kept), count


def _fit(batch: _Batch, found: Found, turns: int) -> Found:
    """Do ``_loops_absolute.fit`` for all windows."""
    if found.amplitude.shape[1] == 0:
        return found
    used, target = _used(found), batch.x.flatten(1)
    atoms = torch.where(used[..., None], batch.atoms(found.chosen), 0.0)
    if turns == 0:
        return Found(found.chosen, _solve(atoms, atoms, target, used), found.counts)
    amplitude = torch.where(used, found.amplitude, 0.0)
    residual = target - (amplitude[:, None] @ atoms)[:, 0]
    best = residual.abs().sum(dim=1)
    floor = 0.1 * best / target.shape[1]
    for _ in range(turns):
        weight = 1.0 / torch.maximum(residual.abs(), floor[:, None]).clamp_min(1e-12)
        trial = _solve(atoms, atoms * weight[:, None], target, used)
        residual = target - (trial[:, None] @ atoms)[:, 0]
        error = residual.abs().sum(dim=1)
        better = error < best
        best, amplitude = torch.where(better, error, best), torch.where(better[:, None], trial, amplitude)
        floor = floor * 0.7
    return Found(found.chosen, amplitude, found.counts)


def _drop(batch: _Batch, found: Found, plan: Plan, patience: Tensor) -> Found:
    """Do ``_loops_absolute.drop`` for all windows; ``patience`` (b,)."""
    found = _fit(batch, found, plan.turns)
    best = batch.value(found.counts, _residual(batch, found).abs().sum(dim=1))
    kept = found
    waited = torch.zeros_like(found.counts)
    going = (found.counts > 0) & (waited < patience)
    while bool(going.any()):
        residual = _residual(batch, found)
        parts = batch.atoms(found.chosen) * found.amplitude[..., None]
        missed = (residual[:, None] + parts).abs().sum(dim=2) - residual.abs().sum(dim=1, keepdim=True)
        rows = torch.nonzero(going)[:, 0]
        slot = torch.where(_used(found), missed, torch.inf).argmin(dim=1)[rows]
        last = found.counts[rows] - 1
        chosen, amplitude = found.chosen.clone(), found.amplitude.clone()
        chosen[rows, slot], amplitude[rows, slot] = chosen[rows, last], amplitude[rows, last]
        amplitude[rows, last] = 0.0
        fewer = Found(chosen, amplitude, found.counts - going.to(torch.int64))
        found = _chosen_of(going, _fit(batch, fewer, plan.turns), found)
        value = batch.value(found.counts, _residual(batch, found).abs().sum(dim=1))
        better = going & (value < best)
        best, kept = torch.where(better, value, best), _chosen_of(better, found, kept)
        waited = torch.where(better, 0, waited + going)
        going = going & (found.counts > 0) & (waited < patience)
    return kept


def _chosen_of(mask: Tensor, first: Found, second: Found) -> Found:
    """Take windows where ``mask`` (b,) from the first, others from the second."""
    return Found(
        torch.where(mask[:, None, None], first.chosen, second.chosen),
        torch.where(mask[:, None], first.amplitude, second.amplitude),
        torch.where(mask, first.counts, second.counts),
    )


def _best_steps(residual: Tensor, atoms: Tensor) -> tuple[Tensor, Tensor]:
    """Give amplitudes (b, k) of one more atom each that leave least absolute error, and the changes (b, k)."""
    weight = atoms.abs()
    ratio = torch.where(weight > 0, residual[:, None] / torch.where(weight > 0, atoms, 1.0), 0.0)
    ratio, order = ratio.sort(dim=2)
    run = weight.gather(2, order).cumsum(dim=2)
    middle = (run >= 0.5 * run[..., -1:]).to(torch.int8).argmax(dim=2, keepdim=True)
    step = ratio.gather(2, middle)[..., 0]
    change = (residual[:, None] - step[..., None] * atoms).abs().sum(dim=2) - residual.abs().sum(dim=1, keepdim=True)
    return step, change


def _move(batch: _Batch, found: Found, n_candidates: int) -> Found:
    """Do ``_loops_moves.move`` for all windows."""
    chosen, amplitude = found.chosen.clone(), torch.where(_used(found), found.amplitude, 0.0)
    residual = _residual(batch, found)
    for a in range(int(found.counts.max()) if len(found.counts) else 0):
        live = found.counts > a
        atom = batch.atoms(chosen[:, a : a + 1])
        without = residual + amplitude[:, a, None] * atom[:, 0]
        unit = (batch.correlate(without) * batch.inverse).abs().flatten(1)
        place = unit.topk(min(n_candidates, unit.shape[1]), dim=1).indices
        tried = torch.cat([chosen[:, a : a + 1], batch.first_taps(place)], dim=1)
        atoms = batch.atoms(tried)
        step, change = _best_steps(without, atoms)
        others = _used(found) & (torch.arange(chosen.shape[1], device=chosen.device) != a)
        taken = ((tried[:, 1:, None] == chosen[:, None]).all(dim=3) & others[:, None]).any(dim=2)
        change[:, 1:] = torch.where(taken | (unit.gather(1, place) <= 0), torch.inf, change[:, 1:])
        step[:, 0] = amplitude[:, a]
        old = residual.abs().sum(dim=1) - without.abs().sum(dim=1)
        # an equal loss leaves the activation where it stands
        change[:, 0] = old - 1e-12
        best = change.argmin(dim=1)
        rows = torch.arange(len(best), device=best.device)
        chosen[:, a] = torch.where(live[:, None], tried[rows, best], chosen[:, a])
        amplitude[:, a] = torch.where(live, step[rows, best], amplitude[:, a])
        after = without - step[rows, best][:, None] * atoms[rows, best]
        residual = torch.where(live[:, None], after, residual)
    return Found(chosen, amplitude, found.counts)


def _sweep(batch: _Batch, found: Found, plan: Plan) -> tuple[Found, bool]:
    """Do ``_loops_moves.sweep`` for all windows; a window that did not gain comes out the same every further time."""
    value = batch.value(found.counts, _residual(batch, found).abs().sum(dim=1))
    moved = _move(batch, found, plan.candidates)
    patience = torch.full_like(found.counts, plan.patience)
    fewer = _drop(batch, moved, plan, patience)
    now = batch.value(fewer.counts, _residual(batch, fewer).abs().sum(dim=1))
    better = now < value - 1e-9
    return _chosen_of(better, fewer, found), bool(better.any())
