"""From components to classes of gas, and from classes to segments."""

import numpy as np
from scipy import ndimage
from sklearn.cluster import KMeans

from stellarssl._utils.bands import row_bands

__all__ = ["by_column", "connected_pieces", "find_classes"]

MOST_CLASSES = 8
"""No more classes than this are tried: more cannot be told apart by their colors."""

TOLERANCE = 0.125
"""How far pixels may be from the mean of their class, in units of the library's range."""

_SAMPLES = 20_000


def find_classes(components: np.ndarray, n_classes: int | None, seed: int) -> np.ndarray:
    """Cluster pixels by their components.

    Parameters
    ----------
    components : ndarray
        Shape (3, ny, nx), in units of the library's range; NaN where there is nothing.
    n_classes : int or None
        How many clusters, at most one per distinct pixel. None is the smallest number, up to 8, for
        which pixels lie within an eighth of the library's range of their cluster's center (root
        mean square of a component): this depends neither on the size of the map nor on how much
        neighboring pixels share.
    seed : int
        Of the first guesses.

    Returns
    -------
    classes : ndarray
        int32 (ny, nx): 1 ..., 0 where there is nothing.
    """
    classes = np.zeros(components.shape[1:], dtype=np.int32)
    found = np.flatnonzero(np.isfinite(components).all(axis=0))
    if found.size == 0:
        return classes
    flat = components.reshape(len(components), -1)
    samples = flat[:, found[:: -(-found.size // _SAMPLES)]].T.astype(np.float64)
    most = min(n_classes or MOST_CLASSES, len(np.unique(samples, axis=0)))
    for n in range(1 if n_classes is None else most, most + 1):
        clusters = KMeans(n, n_init=5, random_state=seed).fit(samples)
        if clusters.inertia_ <= TOLERANCE**2 * samples.size:
            break
    for rows in row_bands((found.size, 1)):
        pixels = found[rows]
        classes.flat[pixels] = clusters.predict(flat[:, pixels].T.astype(np.float64)) + 1
    return classes


def by_column(classes: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Renumber classes, in place, so that 1 has the highest mean column.

    Parameters
    ----------
    classes : ndarray of int, shape (ny, nx)
        0 is background.
    column : ndarray, shape (ny, nx)
        In any unit, finite where there is a class.

    Returns
    -------
    classes : ndarray of int, shape (ny, nx)
        The same partition; classes that no pixel is of have no number.

    Examples
    --------
    >>> by_column(np.array([[0, 1, 4]]), np.array([[9.0, 1.0, 2.0]])).tolist()
    [[0, 2, 1]]
    """
    n = classes.max(initial=0) + 1
    sizes, total = np.zeros(n, dtype=int), np.zeros(n)
    for class_id, values in zip(_bands(classes), _bands(column), strict=True):
        sizes += np.bincount(class_id.ravel(), minlength=n)
        total += np.bincount(class_id.ravel(), values.ravel(), minlength=n)
    present = np.flatnonzero(sizes[1:]) + 1
    order = present[np.argsort(-total[present] / sizes[present], kind="stable")]
    return _renumbered(classes, order)


def connected_pieces(classes: np.ndarray, min_pixels: float) -> np.ndarray:
    """Split classes into connected pieces, numbered from the largest.

    Pixels are connected along edges. A piece of fewer than ``min_pixels`` goes to the pieces that
    touch it, pixel by pixel from its rim inwards, to the larger one where two touch a pixel. Where
    only small pieces touch each other they are one segment if together they are large enough, and
    background if not.

    Parameters
    ----------
    classes : ndarray of int, shape (ny, nx)
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
    seeds = _by_size(_pieces(classes), min_pixels)
    islands = ndimage.label(classes > 0)[0]
    _seed_bare(islands, seeds)
    seeds = _by_size(seeds, min_pixels)
    holds = _that_hold(islands, seeds)
    reachable = np.concatenate([holds[island] for island in _bands(islands)])
    reachable &= classes > 0
    del islands
    return _by_size(_grown(seeds, reachable), 0)


def _pieces(classes: np.ndarray) -> np.ndarray:
    """Find the connected pieces of each class, numbered on from class to class."""
    pieces, numbered, n = np.zeros(classes.shape, dtype=np.int32), classes.astype(np.int32), 0
    for class_id in range(1, classes.max(initial=0) + 1):
        mask = classes == class_id
        more = ndimage.label(mask, output=numbered)
        np.add(numbered, n, out=pieces, where=mask)
        n += more
    return pieces


def _bands(image: np.ndarray) -> list[np.ndarray]:
    """Return views of an image, a few rows each: numpy's indices take 8 bytes a pixel."""
    return [image[rows] for rows in row_bands(image.shape)]


def _renumbered(labels: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Make the first label of an order 1, the next 2, and those it leaves out 0, in place."""
    number = np.zeros(labels.max(initial=0) + 1, dtype=np.int32)
    number[order] = np.arange(1, len(order) + 1)
    for band in _bands(labels):
        band[:] = number[band]
    return labels


def _that_hold(islands: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Tell which islands hold a seed somewhere; 0, which is none, counts as one that does."""
    holds = np.zeros(islands.max(initial=0) + 1, dtype=bool)
    holds[0] = True
    for island, seed in zip(_bands(islands), _bands(seeds), strict=True):
        holds[island[seed > 0]] = True
    return holds


def _seed_bare(islands: np.ndarray, seeds: np.ndarray) -> None:
    """Make an island that holds no seed one of its own, in place."""
    last, holds = seeds.max(), _that_hold(islands, seeds)
    for island, seed in zip(_bands(islands), _bands(seeds), strict=True):
        bare = ~holds[island]
        seed[bare] = island[bare] + last


def _by_size(labels: np.ndarray, min_pixels: float) -> np.ndarray:
    """Renumber labels from the largest down, in place; those below ``min_pixels`` become 0."""
    sizes = np.zeros(labels.max(initial=0) + 1, dtype=int)
    for band in _bands(labels):
        sizes += np.bincount(band.ravel(), minlength=len(sizes))
    sizes[0] = 0
    order = np.argsort(-sizes, kind="stable")
    return _renumbered(labels, order[(sizes[order] >= min_pixels) & (sizes[order] > 0)])


def _grown(labels: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Let labels grow into the allowed background, in place, pixel by pixel, the lowest first."""
    cross = ndimage.generate_binary_structure(2, 1)
    last = np.iinfo(np.int32).max
    labels[labels == 0] = last
    touching = np.empty_like(labels)
    while True:
        ndimage.minimum_filter(labels, footprint=cross, mode="nearest", output=touching)
        new = allowed & (labels == last) & (touching < last)
        if not new.any():
            labels[labels == last] = 0
            return labels
        np.copyto(labels, touching, where=new)
