"""Pictures of Table II: kernels, activations, reconstructions, the cloud of CR⁻¹ against RL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pipelines.paper import figures
from pipelines.paper.published import ACTIVATIONS
from pipelines.paper.table2_run import TOLERANCE
from sanstream.san.model import San

if TYPE_CHECKING:
    from pipelines.paper.table2 import Table

_CLASSES = ("seizure", "between seizures", "healthy")
_SHOWN_M = 12


def draw(table: Table, folder: Path) -> None:
    """Draw ``table2-kernels``, ``table2-signals`` and ``table2-cloud`` (PNG).

    Parameters
    ----------
    table : Table
        Its first seed is shown, at m = 12; the cloud holds all.
    folder : Path
    """
    models = {a: _model(a, table.of("segments", a, _SHOWN_M)[0]["kernels"]) for a in ACTIVATIONS}
    taps = {a: np.stack([w.detach().numpy() for w in model.kernels]) for a, model in models.items()}
    figures.draw_kernels({"UCI epilepsy": taps}, folder / "table2-kernels.png")
    test = table.split_of_segments().test
    shown = {name: _typical(test.x.cpu(), test.y.cpu(), label) for label, name in enumerate(_CLASSES)}
    signals = {name: {a: _parts(model, x) for a, model in models.items()} for name, x in shown.items()}
    figures.draw_signals(signals, folder / "table2-signals.png")
    points = [r | {"activation": a} for a in ACTIVATIONS for m in table.sizes for r in table.of("segments", a, m)]
    figures.draw_clouds({"UCI epilepsy": points}, folder / "table2-cloud.png")


def _model(activation: str, kernels: list[list[float]]) -> San:
    model = San([len(w) for w in kernels], activation=activation, decoder="paper", tolerance=TOLERANCE)
    with torch.no_grad():
        for parameter, taps in zip(model.kernels, kernels, strict=True):
            parameter.copy_(torch.tensor(taps))
    return model


def _typical(x: torch.Tensor, y: torch.Tensor, label: int) -> torch.Tensor:
    """Return the segment of a class whose deviation is its median."""
    mine = x[y == label]
    return mine[int(mine.std(dim=1).argsort()[len(mine) // 2])]


def _parts(model: San, x: torch.Tensor) -> tuple[Any, Any, Any]:
    with torch.no_grad():
        out, fired = model(x[None])
    return x.numpy(), out[0].numpy(), fired[0].numpy()
