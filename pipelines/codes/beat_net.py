"""Two small networks that judge candidates: on their own features first, then knowing the first judgement of all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipelines.codes.beat_candidates import Floats, Ints
from pipelines.codes.beat_features import Candidates, Features, in_context, settled

_HIDDEN, _BATCH, _RATE, _DECAY, _DROP, _NOISE = 48, 512, 3e-3, 1e-2, 0.1, 0.1
_BEAT, _NOT, _LEFT_OUT = 1, 0, -1

Judge = Callable[[Features], Floats]


@dataclass(frozen=True)
class Example:
    """A recording to learn from.

    Parameters
    ----------
    candidates : Candidates
    beats : ndarray, int64
        Annotated beats, samples.
    fold : int
        Examples of one fold are judged by networks of the others while the second network is trained.
    """

    candidates: Candidates
    beats: Ints
    fold: int


@dataclass(frozen=True)
class Detector:
    """What was learned.

    Parameters
    ----------
    first, second : callable
        Features (n, n_inputs) to logits (n,).
    unseen : tuple of ndarray
        First judgement of each example by networks that never saw its fold.
    """

    first: Judge
    second: Judge
    unseen: tuple[Floats, ...]

    def logit(self, candidates: Candidates) -> Floats:
        """Return the sum of both judgements, shape (n,)."""
        if not len(candidates.time):
            return np.zeros(0)
        first = _judged(self.first, candidates, None)
        return first + _judged(self.second, candidates, in_context(candidates, first))

    def detect(self, candidates: Candidates) -> Ints:
        """Return the beats, samples, ascending."""
        return detected(candidates, self.logit(candidates))


def detected(candidates: Candidates, logit: Floats) -> Ints:
    """Return the beats of a judgement, samples, ascending."""
    return np.round(candidates.time[settled(candidates, logit, 0.0)]).astype(np.int64)


def labels(candidates: Candidates, beats: Ints, tolerance: int) -> npt.NDArray[np.float32]:
    """Say which candidates are beats.

    Parameters
    ----------
    candidates : Candidates
    beats : ndarray, int64
    tolerance : int
        Samples.

    Returns
    -------
    ndarray, shape (n,), float32
        1 for the strongest candidate near a beat, -1 for others near one (to be left out), 0 elsewhere.
    """
    time = candidates.time
    out = np.full(len(time), _NOT, np.float32)
    spans = [np.searchsorted(time, (b - tolerance, b + tolerance + 1)) for b in beats]
    for low, high in spans:
        out[low:high] = _LEFT_OUT
    for beat, (low, high) in zip(beats, spans, strict=True):
        if high > low:
            nearness = np.cos(np.pi / 2 * (time[low:high] - beat) / (1.3 * tolerance))
            out[low + int(np.argmax(candidates.strength[low:high] * nearness))] = _BEAT
    return out


def train_detector(examples: Sequence[Example], tolerance: int, *, epochs: int = 3, seed: int = 0) -> Detector:
    """Learn both networks.

    Parameters
    ----------
    examples : sequence of Example
        Of two folds at least, so that the second network sees first judgements as they are on unknown recordings.
    tolerance : int
        Samples; see :func:`labels`.
    epochs, seed : int

    Returns
    -------
    Detector

    Raises
    ------
    ValueError
        When all examples are of one fold.
    """
    folds = sorted({e.fold for e in examples})
    if len(folds) < 2:
        raise ValueError(f"examples of {len(folds)} fold(s); the second network needs two")
    truth = [labels(e.candidates, e.beats, tolerance) for e in examples]
    unseen: dict[int, Floats] = {}
    for fold in folds:
        others = [i for i, e in enumerate(examples) if e.fold != fold]
        judge = _learned(*_joined([examples[i] for i in others], [truth[i] for i in others]), epochs, seed)
        for i, e in enumerate(examples):
            if e.fold == fold:
                unseen[i] = _judged(judge, e.candidates, None)
    first = _learned(*_joined(examples, truth), epochs, seed)
    context = [in_context(e.candidates, unseen[i]) for i, e in enumerate(examples)]
    second = _learned(*_joined(examples, truth, context), epochs, seed)
    return Detector(first, second, tuple(unseen[i] for i in range(len(examples))))


def _inputs(candidates: Candidates, context: Features | None, *, swapped: bool) -> Features:
    own = candidates.inputs(swapped=swapped)
    return own if context is None else np.concatenate([own, context], axis=1)


def _judged(judge: Judge, candidates: Candidates, context: Features | None) -> Floats:
    """Mean judgement over both orders of the leads."""
    return np.asarray(sum(judge(_inputs(candidates, context, swapped=s)) for s in (False, True)) / 2)


def _joined(
    examples: Sequence[Example], truth: Sequence[npt.NDArray[np.float32]], context: Sequence[Features] | None = None
) -> tuple[Features, npt.NDArray[np.float32]]:
    """Stack all candidates that are labelled, once for each order of the leads."""
    rows, marks = [], []
    for i, (example, own) in enumerate(zip(examples, truth, strict=True)):
        for swapped in (False, True):
            rows.append(_inputs(example.candidates, context[i] if context else None, swapped=swapped)[own >= 0])
            marks.append(own[own >= 0])
    return np.concatenate(rows), np.concatenate(marks)


def _learned(inputs: Features, truth: npt.NDArray[np.float32], epochs: int, seed: int) -> Judge:
    """Train two networks from different starts; their logits are averaged."""
    centre, spread = inputs.mean(axis=0), inputs.std(axis=0) + 1e-6
    x = torch.from_numpy((inputs - centre) / spread)
    networks = [_trained(x, torch.from_numpy(truth), epochs, seed + i) for i in range(2)]

    def judge(own: Features) -> Floats:
        with torch.no_grad():
            scaled = torch.from_numpy((own - centre) / spread)
            return np.asarray(torch.stack([n(scaled)[:, 0] for n in networks]).mean(dim=0).numpy(), np.float64)

    return judge


def _trained(x: torch.Tensor, y: torch.Tensor, epochs: int, seed: int) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = torch.nn.Sequential(
            torch.nn.Linear(x.shape[1], _HIDDEN),
            torch.nn.ReLU(),
            torch.nn.Dropout(_DROP),
            torch.nn.Linear(_HIDDEN, _HIDDEN),
            torch.nn.ReLU(),
            torch.nn.Linear(_HIDDEN, 1),
        )
        optimiser = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=_DECAY)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
        for _ in range(epochs):
            for rows in torch.split(torch.randperm(len(x)), _BATCH):
                optimiser.zero_grad()
                part = x[rows]
                logit = network(part + _NOISE * torch.randn_like(part))[:, 0]
                loss: Any = torch.nn.functional.binary_cross_entropy_with_logits(logit, y[rows])
                loss.backward()
                optimiser.step()
            schedule.step()
    return network.eval()
