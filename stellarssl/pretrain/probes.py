"""What a run sees when it looks at itself."""

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from stellarssl.exceptions import StellarSSLError

__all__ = [
    "CollapseError",
    "Probes",
    "amplitude_score",
    "effective_rank",
    "look",
    "neighbor_score",
]


class CollapseError(StellarSSLError):
    """The network answers the same whatever it is shown."""


@dataclass(frozen=True)
class Probes:
    """How a teacher does on held-out flames.

    Attributes
    ----------
    entropy : float
        Mean entropy of the teacher's sharpened answers [log of the number of prototypes]: 1 where
        it always answers everything, near 0 where it is sure.
    feature_std : float
        Standard deviation of normalized class tokens, times the root of their length: 1 where
        they fill the sphere, 0 where they are all the same.
    effective_rank : float
        See `effective_rank`.
    neighbor : float
        See `neighbor_score`.
    amplitude : float
        See `amplitude_score`; the mean of the three channels.
    """

    entropy: float
    feature_std: float
    effective_rank: float
    neighbor: float
    amplitude: float


def effective_rank(features: np.ndarray) -> float:
    """Return the number of directions that features fill.

    The exponential of the entropy of the normalized singular values, Roy & Vetterli 2007.

    Parameters
    ----------
    features : ndarray
        Shape (n, d).

    Returns
    -------
    rank : float
        Between 1 and min(n - 1, d).

    Examples
    --------
    >>> float(round(effective_rank(np.vstack([np.eye(3), -np.eye(3)])), 6))
    3.0
    """
    values = np.linalg.svd(features - features.mean(0), compute_uv=False)
    share = values[values > 0] / values.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def neighbor_score(first: np.ndarray, second: np.ndarray) -> float:
    """Return how often one crop's nearest neighbor is the other crop of the same flame.

    Parameters
    ----------
    first, second : ndarray
        Shape (n, d): features of two crops of each flame.

    Returns
    -------
    share : float
        By cosine similarity, among all n; 1 / n is chance.

    Examples
    --------
    >>> neighbor_score(np.eye(4), np.eye(4))
    1.0
    """
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (first, second))
    return float(np.mean((a @ b.T).argmax(1) == np.arange(len(a))))


def amplitude_score(
    tokens: np.ndarray, images: np.ndarray, fitted: np.ndarray | None = None
) -> np.ndarray:
    """Return how well a patch's mean is read linearly from its token.

    Parameters
    ----------
    tokens : ndarray
        Shape (n, g * g, d).
    images : ndarray
        Shape (n, channel, y, x): what the network saw. The edge is a multiple of g.
    fitted : ndarray of bool, optional
        Shape (n,): the images that the regression is fitted on; the first half by default.

    Returns
    -------
    score : ndarray
        R2 for each channel, of a ridge regression, scored on the images that it was not fitted on.
    """
    n, n_patches, length = tokens.shape
    grid = round(n_patches**0.5)
    patch = images.shape[-1] // grid
    means = images.reshape(n, -1, grid, patch, grid, patch).mean((3, 5))
    means = means.transpose(0, 2, 3, 1).reshape(n, n_patches, -1)
    fitted = np.arange(n) < n // 2 if fitted is None else fitted
    model = Ridge(alpha=1.0)
    model.fit(tokens[fitted].reshape(-1, length), np.concatenate(means[fitted]))
    predicted = model.predict(tokens[~fitted].reshape(-1, length))
    return r2_score(np.concatenate(means[~fitted]), predicted, multioutput="raw_values")


@torch.no_grad()
def look(branch: torch.nn.Module, views: torch.Tensor, temperature: float) -> Probes:
    """Probe a branch with two large views of each held-out flame, one after another.

    Parameters
    ----------
    branch : `torch.nn.Module`
        Student or teacher.
    views : `torch.Tensor`, shape (2 n, 3, size, size)
        First views of all flames, then their second views.
    temperature : float
        Temperature of the softmax of the entropy.

    Returns
    -------
    probes : `Probes`
        Scores of the branch.
    """
    tokens = torch.cat([branch.tokens(part) for part in views.split(64)])
    logits = branch.class_head(tokens[:, 0]).float()
    sure = torch.softmax((logits - logits.mean(0)) / temperature, dim=-1)
    entropy = torch.special.entr(sure).sum(1).mean() / np.log(logits.shape[1])
    classes = tokens[:, 0].float().cpu().numpy()
    unit = classes / np.linalg.norm(classes, axis=1, keepdims=True)
    half = len(views) // 2
    patches = tokens[:half, branch.n_prefix :].float().cpu().numpy()
    amplitude = amplitude_score(patches, views[:half].cpu().numpy())
    return Probes(
        entropy=float(entropy),
        feature_std=float(unit.std(0).mean() * classes.shape[1] ** 0.5),
        effective_rank=effective_rank(classes),
        neighbor=neighbor_score(classes[:half], classes[half:]),
        amplitude=float(amplitude.mean()),
    )
