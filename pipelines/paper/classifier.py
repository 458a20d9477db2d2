"""The classifier of Table III, one linear layer, trained on several models' reconstructions at once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

N_EPOCHS, BATCH, LEARNING_RATE = 5, 64, 0.01
N_CLASSES = 10


def reconstructions(stack: torch.nn.Module, x: Tensor) -> Tensor:
    """Reconstruct images (n_images, h, w) by a stack: (n_images, n_models, h w)."""
    with torch.no_grad():
        return torch.cat([stack(part)[0].flatten(2) for part in torch.split(x, 256)])


def accuracies(
    learn: tuple[Tensor, Tensor], check: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], *, seed: int
) -> tuple[list[float], list[float]]:
    """Train a linear layer for each model and give test accuracies.

    Parameters
    ----------
    learn, check, test : tuple of Tensor
        Inputs (n, n_models, n_pixels) and classes (n,).
    seed : int
        Decides the first weights and the order of the images, the same for all models.

    Returns
    -------
    best, last : list of float
        Per cent, one a model: at the epoch of most validation accuracy, and after the last epoch.
    """
    inputs, classes = learn
    weight, bias = _first_layer(seed, inputs.shape[1], inputs.shape[2], inputs.device)
    optimiser = torch.optim.Adam([weight, bias], lr=LEARNING_RATE)
    shuffle = torch.Generator().manual_seed(seed)
    checked: list[list[float]] = []
    tested: list[list[float]] = []
    for _ in range(N_EPOCHS):
        for batch in torch.split(torch.randperm(len(inputs), generator=shuffle), BATCH):
            mine = batch.to(inputs.device)
            optimiser.zero_grad()
            scores = _scores(inputs[mine], weight, bias)
            wanted = classes[mine].expand(scores.shape[0], -1)
            loss = functional.cross_entropy(scores.flatten(0, 1), wanted.flatten(), reduction="sum")
            torch.autograd.backward(loss / len(batch))
            optimiser.step()
        checked.append(_accuracy(check, weight, bias))
        tested.append(_accuracy(test, weight, bias))
    best = [max(range(N_EPOCHS), key=lambda e: checked[e][i]) for i in range(inputs.shape[1])]
    return [tested[e][i] for i, e in enumerate(best)], tested[-1]


def _first_layer(seed: int, n_models: int, n_inputs: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Give each model the same weights, those of torch's own linear layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = torch.nn.Linear(n_inputs, N_CLASSES)
    weight = layer.weight.detach().T.expand(n_models, -1, -1).clone().to(device)
    bias = layer.bias.detach().expand(n_models, 1, -1).clone().to(device)
    return weight.requires_grad_(), bias.requires_grad_()


def _scores(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Score classes, (n_models, n, n_classes)."""
    return torch.baddbmm(bias, inputs.transpose(0, 1), weight)


def _accuracy(part: tuple[Tensor, Tensor], weight: Tensor, bias: Tensor) -> list[float]:
    with torch.no_grad():
        found = _scores(part[0], weight, bias).argmax(dim=2)
        shares: list[float] = (100 * (found == part[1]).double().mean(dim=1)).tolist()
    return shares
