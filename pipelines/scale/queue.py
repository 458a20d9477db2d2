"""What cannot be run here: blocks and messages of very many streams over workers, one of which dies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ward:
    """Streams over workers.

    Parameters
    ----------
    streams, workers : int
    block_s : float
        Seconds of signal in a block: every stream has one whole that often.
    service_s : float
        Processor seconds that a block costs in all, from message to archive.
    together : bool
        Whether all streams' blocks are whole at the same moment, as after a start of everything; else spread.
    cores : int
        Of a worker.
    """

    streams: int
    workers: int
    block_s: float
    service_s: float
    together: bool
    cores: int = 2

    @property
    def load(self) -> float:
        """Share of the workers' cores that is used."""
        return self.streams * self.service_s / self.block_s / (self.workers * self.cores)


@dataclass(frozen=True)
class Lags:
    """Seconds from a block's last sample to its end, and how long a worker's death is felt.

    Parameters
    ----------
    p50, p99, most : float
        While all workers live.
    after_death : float
        The longest, of the dead worker's streams and of those that took them over.
    recovered_s : float
        From the death until no block waits longer than all do in the end; infinite where those left are too few.
    """

    p50: float
    p99: float
    most: float
    after_death: float
    recovered_s: float


def simulate(ward: Ward, *, hours: float = 2.0, noticed_s: float = 30.0, seed: int = 1) -> Lags:
    """Let one of the workers die half way; its streams go to the others when the broker has noticed.

    A worker takes blocks in the order in which they are whole. Of the dead one's streams, blocks that were not whole at
    its death are assembled by another, as soon as the broker has noticed and delivers again. What the dead one had
    acknowledged stands in its journal and waits for its own return; that is no delay of new signal.

    Parameters
    ----------
    ward : Ward
    hours : float
        Simulated.
    noticed_s : float
        Until a broker gives a dead consumer's streams to another.
    seed : int
    """
    random = np.random.default_rng(seed)
    phase = np.zeros(ward.streams) if ward.together else random.uniform(0, ward.block_s, ward.streams)
    owner = random.permutation(ward.streams) % ward.workers
    end, death = hours * 3600, hours * 1800
    others = np.where(owner == 0, 1 + random.integers(0, max(1, ward.workers - 1), ward.streams), owner)
    due, lag = [], []
    for worker in range(1, ward.workers):
        mine = np.flatnonzero(owner == worker)
        taken = np.flatnonzero((others == worker) & (owner == 0))
        whole = np.add.outer(np.arange(0, end, ward.block_s), phase[mine]).ravel()
        late = np.add.outer(np.arange(0, end, ward.block_s), phase[taken]).ravel()
        late = late[late >= death]
        arrives = np.concatenate([whole, np.maximum(late, death + noticed_s)])
        since = np.concatenate([whole, late])
        order = np.argsort(arrives, kind="stable")
        due.append(since[order])
        lag.append(_served(arrives[order], ward.service_s / ward.cores) - since[order])
    when, waited = np.concatenate(due), np.concatenate(lag)
    before = waited[when < death]
    after = when >= death
    settled = float(waited[when > 0.9 * end].max())
    slow = when[after & (waited > 1.05 * settled)]
    left = ward.load * ward.workers / (ward.workers - 1)
    felt_s = (float(slow.max() - death) if len(slow) else 0.0) if left < 1 else float("inf")
    p50, p99, most = (float(q) for q in np.quantile(before, (0.5, 0.99, 1.0)))
    return Lags(p50, p99, most, float(waited[after].max()), felt_s)


def _served(arrives: Floats, service_s: float) -> Floats:
    """Return when each is done: one after the other, each after it has come."""
    n = np.arange(1, len(arrives) + 1) * service_s
    return np.asarray(np.maximum.accumulate(arrives - n + service_s) + n, np.float64)
