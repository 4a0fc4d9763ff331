"""One flame from its genome, or from its seed and index."""

from collections import Counter

from stellarssl.exceptions import InputError, StellarSSLError
from stellarssl.pretrain.fractals.draws import Draws
from stellarssl.pretrain.fractals.genome import FlameGenome
from stellarssl.pretrain.fractals.images import FlameImage, RejectedError, camera_frame
from stellarssl.pretrain.fractals.moments import fbm_image, moment_image
from stellarssl.pretrain.fractals.rgb import rgb_image

__all__ = ["KINDS", "check_options", "render_flame", "render_indexed"]

KINDS = {"moments": (96, 100_000), "rgb": (336, 1_000_000), "affine": (96, 100_000), "fbm": (96, 0)}
"""Each kind's size and number of points where they are left out."""

_ATTEMPTS = 200


def check_options(kind: str, size: int | None, n_points: int | None) -> tuple[int, int]:
    """Check the options of an image and fill in what is left out.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    size : int or None
        At least 16.
    n_points : int or None
        At least 1000; ``fbm`` has none.

    Returns
    -------
    size, n_points : int
        Pixels along a side, steps of the chaos game.

    Raises
    ------
    InputError
        If one breaks its rule.
    """
    if kind not in KINDS:
        raise InputError("kind", f"must be one of {', '.join(KINDS)}", kind)
    size = KINDS[kind][0] if size is None else size
    n_points = KINDS[kind][1] if n_points is None else n_points
    if not (isinstance(size, int) and size >= 16):
        raise InputError("size", "must be a whole number of at least 16", size)
    if kind == "fbm":
        return size, 0
    if not (isinstance(n_points, int) and n_points >= 1000):
        raise InputError("n_points", "must be a whole number of at least 1000", n_points)
    return size, n_points


def render_flame(
    genome: FlameGenome,
    *,
    kind: str = "moments",
    size: int | None = None,
    n_points: int | None = None,
    frame: str = "auto",
    seed: int = 0,
    supersampling: int = 1,
    adaptive: bool = False,
) -> FlameImage:
    """Render a genome.

    Parameters
    ----------
    genome : FlameGenome
        The flame.
    kind : {"moments", "rgb"}, optional
        Moments as a telescope would measure them, or colors.
    size : int, optional
        Pixels along a side; 96, or 336 for ``rgb``.
    n_points : int, optional
        Steps of the chaos game; 1e5, or 1e6 for ``rgb``.
    frame : {"auto", "camera"}, optional
        Whether the part of the plane that is shown is chosen from where the points are, or is what
        the genome's camera is pointed at.
    seed : int, optional
        Of the game, the frame, the gains and the offsets.
    supersampling : int, optional
        ``rgb``: pixels of the histogram along a side of a pixel of the image.
    adaptive : bool, optional
        ``rgb``: whether pixels with few points are smoothed over a wider beam.

    Returns
    -------
    image : FlameImage
        ``maps`` (3, size, size) and ``valid`` (size, size).

    Raises
    ------
    InputError
        If an option breaks its rule or the flame is not worth an image.

    Examples
    --------
    >>> image = render_flame(FlameGenome.random(0, 0), size=64)
    >>> image.maps.shape, image.valid.dtype
    ((3, 64, 64), dtype('bool'))
    """
    if kind not in ("moments", "rgb"):
        raise InputError("kind", "must be 'moments' or 'rgb'", kind)
    if frame not in ("auto", "camera"):
        raise InputError("frame", "must be 'auto' or 'camera'", frame)
    size, n_points = check_options(kind, size, n_points)
    shown = camera_frame(genome, size) if frame == "camera" else None
    draws = Draws(seed, 1)
    try:
        if kind == "moments":
            return moment_image(genome, draws, size=size, n_points=n_points, frame=shown)
        return rgb_image(
            genome, draws, size=size, n_points=n_points, frame=shown,
            supersampling=supersampling, adaptive=adaptive,
        )  # fmt: skip
    except RejectedError as error:
        raise InputError("genome", f"makes no image: {error}") from None


def render_indexed(
    index: int, *, kind: str, size: int, n_points: int, seed: int
) -> tuple[FlameImage, Counter]:
    """Render image ``index`` of a series: the first of its attempts that is worth it.

    Parameters
    ----------
    index : int
        Which.
    kind, size, n_points, seed
        As in `FlameDataset`.

    Returns
    -------
    image : FlameImage
        It depends on nothing but the arguments.
    rejected : Counter
        How many attempts failed, by the reason.

    Raises
    ------
    StellarSSLError
        If 200 attempts fail.
    """
    rejected: Counter[str] = Counter()
    for attempt in range(_ATTEMPTS):
        draws = Draws(seed, index, attempt, 1)
        try:
            if kind == "fbm":
                return fbm_image(draws, size=size), rejected
            draw = FlameGenome.random_affine if kind == "affine" else FlameGenome.random
            make = rgb_image if kind == "rgb" else moment_image
            genome = draw(seed, index, attempt)
            return make(genome, draws, size=size, n_points=n_points), rejected
        except RejectedError as error:
            rejected[str(error)] += 1
    raise StellarSSLError(
        f"no flame in {_ATTEMPTS} attempts (seed {seed}, index {index}): {rejected}"
    )
