"""Patch tokens of a whole map: windows slid over it, projected, blended."""

import numpy as np
from scipy import ndimage

from stellarssl._utils.bands import row_bands
from stellarssl._utils.geometry import TILE_PIXELS
from stellarssl._utils.progress import progress as progress_bar
from stellarssl.encoder import Encoder
from stellarssl.library import TokenStatistics

__all__ = ["WINDOW", "blended_components", "blending_kernel", "mirror_beyond"]

WINDOW = TILE_PIXELS
"""Side of a window, in tile pixels."""

_BATCH = 64  # windows at once


def blended_components(
    maps: np.ndarray,
    detected: np.ndarray,
    encoder: Encoder,
    tokens: TokenStatistics,
    *,
    step: int,
    progress: bool = False,
) -> np.ndarray:
    """Compute the principal components of the patch tokens at every pixel of a map.

    Windows start every ``step`` pixels in both directions. From each token the mean token of the
    library at that place of the window is taken off, and what is left is projected on the
    library's components. A pixel's value is the mean over all windows that hold it, weighted by
    `blending_kernel`. Beyond its edges the map is mirrored. Windows in which nothing is detected
    are left out, and memory beside the result is that of a batch of windows.

    Parameters
    ----------
    maps : ndarray
        float32 (3, ny, nx), finite: log10 N_H [cm^-2], v_los and sigma_v [km/s].
    detected : ndarray of bool, shape (ny, nx)
        Where there is gas.
    encoder : `~stellarssl.encoder.Encoder`
        Makes the tokens.
    tokens : `~stellarssl.library.TokenStatistics`
        Of the same encoder.
    step : int
        Between windows, in pixels; what it leaves over whole patches is by how much neighboring
        windows shift the patch grid.
    progress : bool, optional
        Whether a bar is shown.

    Returns
    -------
    components : ndarray
        float32 (3, ny, nx), in units of the library's 1st (0) to 99th percentile (1); NaN where no
        window was.
    """
    kernel = blending_kernel(len(tokens.mean))
    low, high = tokens.scale.T
    basis = (tokens.components / (high - low)[:, None]).T
    origin = tokens.mean @ basis + low / (high - low)
    weight = np.outer(kernel.sum(axis=1), kernel.sum(axis=1))
    ny, nx = detected.shape
    components = np.zeros((3, ny, nx), dtype=np.float32)
    weights = np.zeros((WINDOW, nx), dtype=np.float32)  # of the rows that windows are on
    starts = np.arange(step - WINDOW, nx, step)
    for y in progress_bar(range(step - WINDOW, ny, step), "segmenting", show=progress):
        here = np.s_[max(y, 0) : y + WINDOW]
        filled = [x for x in starts if detected[here, max(x, 0) : x + WINDOW].any()]
        for first in range(0, len(filled), _BATCH):
            batch = filled[first : first + _BATCH]
            windows = np.stack([_window(maps, y, x) for x in batch])
            projected = encoder.patch_tokens(windows) @ basis - origin
            values = np.einsum("pi,qj,nijc->ncpq", kernel, kernel, projected, optimize=True)
            for x, value in zip(batch, values, strict=True):
                target = components[:, here, max(x, 0) : x + WINDOW]
                part = value[:, -min(y, 0) :, -min(x, 0) :]
                target += part[:, : target.shape[1], : target.shape[2]]
                weights[:, max(x, 0) : x + WINDOW] += weight[:, -min(x, 0) :][:, : target.shape[2]]
        done = components[:, max(y, 0) : max(y + step, 0)]
        with np.errstate(invalid="ignore"):
            done /= weights[-min(y, 0) :][: done.shape[1]]
        weights = np.concatenate([weights[step:], np.zeros((step, nx), dtype=np.float32)])
    return components


def blending_kernel(n_patches: int) -> np.ndarray:
    """Weigh the tokens along one side of a window at each of its pixels.

    A token counts most at the middle of its patch and falls off linearly to the middles of the
    next ones, and tokens at the rim of a window, which see half of their surroundings, count less
    (a squared sine across the window). The weight at a pixel is the product of both directions'.

    Parameters
    ----------
    n_patches : int
        Along a side.

    Returns
    -------
    kernel : ndarray
        Shape (64, n_patches), not negative.

    Examples
    --------
    >>> kernel = blending_kernel(8)
    >>> kernel.shape, bool((kernel.sum(axis=1) > 0).all())
    ((64, 8), True)
    """
    size = WINDOW / n_patches
    middle = (np.arange(n_patches) + 0.5) * size
    distance = np.abs(np.arange(WINDOW)[:, None] + 0.5 - middle) / size
    return np.maximum(1 - distance, 0) * np.sin(np.pi * middle / WINDOW) ** 2


def mirror_beyond(maps: np.ndarray, covered: np.ndarray) -> None:
    """Continue a map beyond its outline, in place, whatever its shape, as in a mirror.

    A pixel that is not covered takes the value of its mirror image in the nearest covered pixel, or
    where that is not covered either, of the nearest pixel itself. So windows at the rim see
    neither an edge nor gas that is not there next to it.

    Parameters
    ----------
    maps : ndarray
        Shape (n, ny, nx); what is not covered is overwritten.
    covered : ndarray of bool, shape (ny, nx)
        Where the map reaches; somewhere.

    Examples
    --------
    >>> covered = np.array([[True, True, True, False, False, False]])
    >>> maps = np.arange(6)[None, None]
    >>> mirror_beyond(maps, covered)
    >>> maps.tolist()
    [[[0, 1, 2, 1, 0, 2]]]
    """
    sources = ndimage.distance_transform_edt(~covered, return_distances=False, return_indices=True)
    limits = np.array(covered.shape)[:, None]
    for band in row_bands(covered.shape):
        y, x = np.nonzero(~covered[band])
        beyond = y + band.start, x
        nearest = sources[:, *beyond]
        image = 2 * nearest - np.array(beyond)
        inside = ((image >= 0) & (image < limits)).all(axis=0)
        inside[inside] = covered[*image[:, inside]]
        maps[:, *beyond] = maps[:, *np.where(inside, image, nearest)]


def _window(maps: np.ndarray, y: int, x: int) -> np.ndarray:
    """Cut the window that starts at (y, x), mirrored beyond the edges."""
    rows, columns = (
        _mirrored(np.arange(start, start + WINDOW), n)
        for start, n in zip((y, x), maps.shape[1:], strict=True)
    )
    return maps[:, rows[:, None], columns]


def _mirrored(index: np.ndarray, n: int) -> np.ndarray:
    """Fold indices beyond the edges of n pixels back, as in a mirror."""
    index = index % (2 * n)
    return np.minimum(index, 2 * n - 1 - index)
