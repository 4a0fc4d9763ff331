"""From components to kinds of gas, and from kinds to segments."""

import numpy as np
from scipy import ndimage
from sklearn.cluster import KMeans

__all__ = ["by_column", "connected_pieces", "find_kinds"]

MOST_KINDS = 8
"""No more kinds than this are tried: more cannot be told apart by their colours."""

TOLERANCE = 0.125
"""How far pixels may be from the mean of their kind, in units of the library's range."""

_SAMPLES = 20_000
_CHUNK = 1 << 20


def find_kinds(components: np.ndarray, n_kinds: int | None, seed: int) -> np.ndarray:
    """Cluster pixels by their components.

    Parameters
    ----------
    components : ndarray
        Shape (3, ny, nx), in units of the library's range; NaN where there is nothing.
    n_kinds : int or None
        How many clusters, at most one per distinct pixel. None is the smallest number, up to 8, for
        which pixels lie within an eighth of the library's range of their cluster's centre (root
        mean square of a component): this depends neither on the size of the map nor on how much
        neighbouring pixels share.
    seed : int
        Of the first guesses.

    Returns
    -------
    kinds : ndarray
        int32 (ny, nx): 1 ..., 0 where there is nothing.
    """
    kinds = np.zeros(components.shape[1:], dtype=np.int32)
    found = np.flatnonzero(np.isfinite(components).all(axis=0))
    if found.size == 0:
        return kinds
    flat = components.reshape(len(components), -1)
    samples = flat[:, found[:: -(-found.size // _SAMPLES)]].T.astype(np.float64)
    most = min(n_kinds or MOST_KINDS, len(np.unique(samples, axis=0)))
    for n in range(1 if n_kinds is None else most, most + 1):
        clusters = KMeans(n, n_init=5, random_state=seed).fit(samples)
        if clusters.inertia_ <= TOLERANCE**2 * samples.size:
            break
    for start in range(0, found.size, _CHUNK):
        pixels = found[start : start + _CHUNK]
        kinds.flat[pixels] = clusters.predict(flat[:, pixels].T.astype(np.float64)) + 1
    return kinds


def by_column(kinds: np.ndarray, n_h: np.ndarray) -> np.ndarray:
    """Renumber kinds so that 1 has the highest mean column.

    Parameters
    ----------
    kinds : ndarray of int, shape (ny, nx)
        0 is background.
    n_h : ndarray, shape (ny, nx)
        Columns, finite where there is a kind.

    Returns
    -------
    kinds : ndarray of int, shape (ny, nx)
        The same partition; kinds that no pixel is of have no number.

    Examples
    --------
    >>> by_column(np.array([[0, 1, 4]]), np.array([[9.0, 1.0, 2.0]])).tolist()
    [[0, 2, 1]]
    """
    present = np.unique(kinds[kinds > 0])
    order = present[np.argsort(-ndimage.mean(n_h, kinds, present), kind="stable")]
    number = np.zeros(kinds.max(initial=0) + 1, dtype=np.int32)
    number[order] = np.arange(1, len(order) + 1)
    return number[kinds]


def connected_pieces(kinds: np.ndarray, min_pixels: float) -> np.ndarray:
    """Split kinds into connected pieces, numbered from the largest.

    Pixels are connected along edges. A piece of fewer than ``min_pixels`` goes to the pieces that
    touch it, pixel by pixel from its rim inwards, to the larger one where two touch a pixel. Where
    only small pieces touch each other they are one segment if together they are large enough, and
    background if not.

    Parameters
    ----------
    kinds : ndarray of int, shape (ny, nx)
        0 is background.
    min_pixels : float
        Area of the smallest piece.

    Returns
    -------
    labels : ndarray
        int32 (ny, nx): 1 is the largest segment, 0 is background.

    Examples
    --------
    >>> connected_pieces(np.array([[1, 1, 1, 2, 3, 3, 0, 3]]), 2).tolist()
    [[1, 1, 1, 1, 2, 2, 0, 0]]
    """
    pieces = np.zeros(kinds.shape, dtype=np.int32)
    for kind in np.unique(kinds[kinds > 0]):
        numbered = ndimage.label(kinds == kind)[0]
        pieces[numbered > 0] = numbered[numbered > 0] + pieces.max()
    seeds = _by_size(pieces, min_pixels)
    islands = ndimage.label(kinds > 0)[0]
    alone = (kinds > 0) & ~_that_hold(islands, seeds)
    seeds[alone] = islands[alone] + seeds.max()
    seeds = _by_size(seeds, min_pixels)
    reachable = (kinds > 0) & _that_hold(islands, seeds)
    return _by_size(_grown(seeds, reachable), 0)


def _that_hold(islands: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Mark the islands with a seed somewhere."""
    holds = np.zeros(islands.max(initial=0) + 1, dtype=bool)
    holds[islands[seeds > 0]] = True
    return holds[islands]


def _by_size(labels: np.ndarray, min_pixels: float) -> np.ndarray:
    """Renumber labels from the largest down; those below ``min_pixels`` become 0."""
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    order = np.argsort(-sizes, kind="stable")
    order = order[(sizes[order] >= min_pixels) & (sizes[order] > 0)]
    number = np.zeros(len(sizes), dtype=np.int32)
    number[order] = np.arange(1, len(order) + 1)
    return number[labels]


def _grown(labels: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Let labels grow into the allowed background, one pixel at a time, the lowest label first."""
    cross = ndimage.generate_binary_structure(2, 1)
    last = np.iinfo(np.int32).max
    labels = np.where(labels == 0, last, labels)
    while True:
        touching = ndimage.minimum_filter(labels, footprint=cross, mode="nearest")
        new = allowed & (labels == last) & (touching < last)
        if not new.any():
            return np.where(labels == last, 0, labels)
        labels[new] = touching[new]
