"""The nearest groups of a query, and how much each of them counts."""

import numpy as np

from stellarssl._utils.compiled import compiled

__all__ = ["SAME", "nearest_groups", "neighbor_weights"]

SAME = 1e-6
"""Whitened distance below which two rows are the same one, rounding aside."""

_BLOCK = 512  # queries and rows compared at once: their products stay in the processor's cache


def neighbor_weights(distance: np.ndarray) -> np.ndarray:
    """Return weights that fall as 1/distance and sum to one in each row.

    Parameters
    ----------
    distance : ndarray
        Shape (m, k), ascending; infinite where there is no neighbor.

    Returns
    -------
    weight : ndarray
        Shape (m, k). Rows at no distance share all the weight among themselves.

    Examples
    --------
    >>> import numpy as np
    >>> neighbor_weights(np.array([[1.0, 3.0], [0.0, 1.0]]))
    array([[0.75, 0.25],
           [1.  , 0.  ]])
    """
    nearest = distance[:, :1]
    same = distance <= SAME
    safe = np.where(same, 1.0, distance)
    weight = np.where(nearest <= SAME, same, nearest / safe)
    return weight / weight.sum(axis=1, keepdims=True)


def nearest_groups(
    rows: np.ndarray,
    query: np.ndarray,
    groups: np.ndarray,
    n_groups: int,
    left_out: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest groups, each by its nearest row.

    The search is exact. Matrix products of blocks tell, within their rounding, which rows may be
    nearer than what was found so far; only of these the distance is worked out. Memory beside the
    result does not grow with the library or the queries.

    Parameters
    ----------
    rows : ndarray
        The library, shape (n, d).
    query : ndarray
        Shape (m, d).
    groups : ndarray of int
        The group of each row of the library, shape (n,).
    n_groups : int
        How many are wanted.
    left_out : tuple of ndarray, optional
        The clump of each row of the library (n,) and the clump that each query must not see (m,).

    Returns
    -------
    distance : ndarray
        Shape (m, k), ascending; infinite where there are fewer groups than wanted. Of rows equally
        far the first is taken.
    index : ndarray of int
        Shape (m, k).

    Examples
    --------
    >>> rows = np.array([[0.0], [1.0], [3.0]])
    >>> distance, index = nearest_groups(rows, np.array([[0.8]]), np.array([7, 7, 8]), 2)
    >>> distance.round(1).tolist(), index.tolist()
    ([[0.2, 2.2]], [[1, 2]])
    """
    wanted = min(n_groups, len(np.unique(groups)))
    square = np.full((len(query), wanted), np.inf)
    index = np.zeros((len(query), wanted), dtype=np.intp)
    owner = np.full((len(query), wanted), -1, dtype=np.intp)
    number = np.unique(groups, return_inverse=True)[1]
    clumps, unseen = left_out if left_out is not None else (number, np.full(len(query), -1))
    # (q, 1) . (x, -x^2 / 2) = (q^2 - |q - x|^2) / 2: one product a block is all that is compared
    length = (rows**2).sum(axis=1)
    extended = np.column_stack([rows, -length / 2])
    for first in range(0, len(query), _BLOCK):
        batch = slice(first, first + _BLOCK)
        asked = np.column_stack([query[batch], np.ones(len(query[batch]))])
        for start in range(0, len(rows), _BLOCK):
            block = slice(start, start + _BLOCK)
            _keep_nearer(
                asked @ extended[block].T, asked, extended[block], start,
                number[block], clumps[block], unseen[batch],
                square[batch], index[batch], owner[batch],
            )  # fmt: skip
    return np.sqrt(square), index


@compiled
def _keep_nearer(products, query, rows, start, groups, clumps, unseen, square, index, owner):  # noqa: ANN001
    """Put those of a block's rows that are nearer than what was found into the lists found."""
    m, n = products.shape
    d = rows.shape[1] - 1
    longest = 0.0
    for r in range(n):
        longest = max(longest, -2 * rows[r, d])
    for q in range(m):
        length = 0.0
        for j in range(d):
            length += query[q, j] ** 2
        rounding = 1e-15 * (d + 4) * (length + longest)
        least = (length - square[q, -1]) / 2 - rounding
        n_near = 0
        for r in range(n):
            n_near += products[q, r] > least
        if n_near == 0:
            continue
        for r in range(n):
            if products[q, r] > least and clumps[r] != unseen[q]:
                distance = 0.0
                for j in range(d):
                    distance += (query[q, j] - rows[r, j]) ** 2
                if distance < square[q, -1]:
                    _insert(distance, start + r, groups[r], square[q], index[q], owner[q])
                    least = (length - square[q, -1]) / 2 - rounding


@compiled
def _insert(distance, row, group, square, index, owner):  # noqa: ANN001
    """Enter a row into an ascending list that names each group once."""
    at = len(owner) - 1
    for i in range(len(owner)):
        if owner[i] == group:
            at = i
            break
    if distance >= square[at]:
        return
    while at > 0 and square[at - 1] > distance:
        square[at], index[at], owner[at] = square[at - 1], index[at - 1], owner[at - 1]
        at -= 1
    square[at], index[at], owner[at] = distance, row, group
