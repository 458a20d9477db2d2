"""A known detector on raw samples, for comparison: XQRS of the wfdb package."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

PEER = "XQRS (wfdb)"


def peer_beats(samples: npt.NDArray[np.int32], rate_hz: float) -> npt.NDArray[np.int64]:
    """Detect beats of one lead from its samples.

    Parameters
    ----------
    samples : ndarray, shape (n_samples,), int32
    rate_hz : float

    Returns
    -------
    ndarray, int64, ascending
        Samples.

    Raises
    ------
    ImportError
        When wfdb is not installed.
    """
    from wfdb import processing

    detector = processing.XQRS(sig=samples.astype(np.float64), fs=rate_hz)
    detector.detect(verbose=False)
    return np.sort(np.asarray(detector.qrs_inds, np.int64))
