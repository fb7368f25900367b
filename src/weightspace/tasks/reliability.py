"""How far a prediction can be taken at its word: what it says, compared with what then comes, bin by bin."""

import numpy as np

__all__ = ["BINS", "calibration_error"]

BINS = 15
"""Bins of equal width between 0 and 1."""


def calibration_error(said: np.ndarray, true: np.ndarray, bins: int = BINS) -> float:
    r"""The expected calibration error: by how much predictions between 0 and 1 miss on average, bin by bin.

    The unit interval is cut into :math:`B` bins of equal width, :math:`((b - 1) / B, b / B]`, the first with its 0.
    Where :math:`n_b` of :math:`n` predictions lie in bin :math:`b`, with the mean :math:`p_b`, and the mean of what
    they were about is :math:`y_b`, it is :math:`\sum_b \frac{n_b}{n} |y_b - p_b|`: from 0, for predictions that are
    right on average at every level, to 1. Where a prediction is not finite, it is nan.

    Shapes:
        said, true: ``(n,)``.

    Args:
        said: predictions from 0 to 1: the probability of being right, or a number foretold.
        true: what came: 0 or 1, or the number.
        bins: :math:`B`.

    Example:
        >>> round(calibration_error(np.array([0.8, 0.8, 0.8, 0.8]), np.array([1.0, 1.0, 0.0, 0.0])), 3)
        0.3

    References:
        Naeini, Cooper, Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015, eq. 3;
        Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, eq. 3 (15 bins).
    """
    if not (np.isfinite(said).all() and np.isfinite(true).all()):
        return float("nan")
    place = np.clip(np.ceil(said * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(place, true, minlength=bins) - np.bincount(place, said, minlength=bins)
    return float(np.abs(gaps).sum() / len(said))
