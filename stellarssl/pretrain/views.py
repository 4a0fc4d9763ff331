"""Views of a flame, made as a telescope would make them.

Every view is one separable linear operator, so that crop, pixel size and beam cost two batched
matrix products. Moment maps are smoothed in what may be summed: column, column times velocity and
column times squared velocity.
"""

import math
from dataclasses import dataclass

import torch

from stellarssl.encoder import Scaling
from stellarssl.pretrain.imagenet import imagenet_views

__all__ = ["ViewSettings", "make_views", "prepare_flames"]

_FWHM_TO_SIGMA = 1 / math.sqrt(8 * math.log(2))
_SIGMA_INSTRUMENT = 0.1
_DETECTION = 3.0


@dataclass(frozen=True)
class ViewSettings:
    """How views of one flame differ.

    Attributes
    ----------
    beam : float
        Largest beam of one view alone, full width at half maximum [pixels of the flame].
    shared_beam : float
        Largest beam that all views of a flame share [its extent, see ``zoom``]: a telescope sees
        a source with one beam, which is in the library too, so that the encoder has nothing to
        learn from telling beams apart, and much from seeing gas behind them.
    snr : tuple of float
        Mean column over the noise's rms, drawn log-uniformly between the two.
    jitter : float
        Largest relative change of gain in each channel, per view: the calibration.
    mirror_velocity : bool
        Whether half of the flames are seen from behind (v becomes -v), in all their views alike.
    wander : float
        How far a crop's center may lie from the flame's focus [edge of the crop]. The focus is a
        pixel drawn in proportion to the column; 0 makes all crops concentric.
    zoom : tuple of float
        How much of the flame's edge its views share in, drawn log-uniformly between the two once
        for a flame: the scales of the stages are parts of it. Where they are near one, all views
        show the same extent of gas, and the encoder learns that sizes matter.
    recipe : {"physical", "imagenet"}
        ``"imagenet"`` makes the views of colors that DINO was published with instead
        (`imagenet_views`); the settings above then do nothing.
    """

    beam: float = 4.0
    shared_beam: float = 0.0
    snr: tuple[float, float] = (10.0, 300.0)
    jitter: float = 0.05
    mirror_velocity: bool = True
    wander: float = 0.5
    zoom: tuple[float, float] = (1.0, 1.0)
    recipe: str = "physical"


def _uniform(n: int, low: float, high: float, like: torch.Tensor) -> torch.Tensor:
    return torch.empty(n, device=like.device).uniform_(low, high)


def prepare_flames(
    flames: torch.Tensor, settings: ViewSettings, *, physical: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn flames into what may be averaged, and draw the focus of their views.

    Parameters
    ----------
    flames : `~torch.Tensor`
        Shape (n, 3, y, x): log10 N_H, v_los, sigma_v, or three colors. A pixel that is not
        finite is empty.
    settings : `ViewSettings`
        How views differ.
    physical : bool
        Whether the channels are moments and not colors.

    Returns
    -------
    sums : `~torch.Tensor`
        Shape (n, 3, y, x): N, N v and N (v^2 + sigma^2), in units of the flame's mean column, v
        relative to its mean; or the colors.
    focus : `~torch.Tensor`
        Shape (n, 3): row and column of the focus [pixels], and log10 of the mean column.
    """
    n, _, _, size = flames.shape
    if not physical:
        focus = torch.full((n, 3), size / 2, device=flames.device)
        return flames.nan_to_num(), focus
    seen = flames.isfinite().all(1)
    log_n, velocity, sigma = flames.nan_to_num().double().unbind(1)
    column = torch.where(seen, 10.0**log_n, 0.0)
    mean = column.mean((1, 2), keepdim=True)
    column = column / mean
    velocity = velocity - (column * velocity).mean((1, 2), keepdim=True)
    if settings.mirror_velocity:
        sign = torch.randint(0, 2, (n, 1, 1), device=flames.device) * 2 - 1
        velocity = velocity * sign
    sums = torch.stack((column, column * velocity, column * (velocity**2 + sigma**2)), 1)
    pixel = torch.multinomial(column.flatten(1), 1).squeeze(1)
    rows, columns = pixel // size + 0.5, pixel % size + 0.5
    return sums.float(), torch.stack((rows, columns, mean.flatten().log10()), 1).float()


def _operator(
    center: torch.Tensor,
    width: torch.Tensor,
    fwhm: torch.Tensor,
    sizes: tuple[int, int],
) -> torch.Tensor:
    """Return the (n, out, base) weights that cut, smooth and sample along one axis."""
    base, out = sizes
    steps = (torch.arange(out, device=center.device) + 0.5) / out - 0.5
    at = center[:, None] + width.abs()[:, None] * steps * width.sign()[:, None]
    sigma = torch.hypot(width.abs() / out, fwhm).clamp_min(1.2) * _FWHM_TO_SIGMA
    pixel = torch.arange(base, device=center.device) + 0.5
    weights = torch.exp(-0.5 * ((pixel - at[..., None]) / sigma[:, None, None]) ** 2)
    return weights / weights.sum(-1, keepdim=True)


def _crop(
    sums: torch.Tensor,
    focus: torch.Tensor,
    extent: torch.Tensor,
    shared: torch.Tensor,
    settings: ViewSettings,
    scale: tuple[float, float],
    out: int,
) -> torch.Tensor:
    """Cut one view of each flame: part of its extent, one of eight orientations, a beam."""
    n, _, _, base = sums.shape
    width = extent * _uniform(n, *scale, like=sums)
    fwhm = torch.hypot(shared, settings.beam * _uniform(n, 0, 1, like=sums) ** 2)
    operators = []
    for axis in (0, 1):
        center = focus[:, axis] + settings.wander * width * _uniform(n, -0.5, 0.5, like=sums)
        center = torch.minimum(torch.maximum(center, width / 2), base - width / 2)
        mirrored = width * (torch.randint(0, 2, (n,), device=sums.device) * 2 - 1)
        operators.append(_operator(center, mirrored, fwhm, (base, out)))
    view = operators[0][:, None] @ sums @ operators[1].mT[:, None]
    turned = torch.rand(n, 1, 1, 1, device=sums.device) < 0.5
    return torch.where(turned, view.mT, view)


def _observe(view: torch.Tensor, log_mean: torch.Tensor, settings: ViewSettings) -> torch.Tensor:
    """Turn sums back into maps, with noise, a detection limit and a calibration."""
    n = len(view)
    column, first, second = view.unbind(1)
    low, high = (math.log(value) for value in settings.snr)
    rms = torch.exp(-_uniform(n, low, high, like=view))[:, None, None]
    safe = column.clamp_min(1e-6)
    velocity = first / safe
    sigma = (second / safe - velocity**2).clamp_min(0).sqrt()
    noisy = column + rms * torch.randn_like(column)
    detected = noisy > _DETECTION * rms
    error = rms / safe
    velocity = velocity + sigma * error * torch.randn_like(column)
    sigma = sigma * (1 + error * torch.randn_like(column)).clamp(0.3, 3)
    gain = 1 + _uniform(3 * n, -settings.jitter, settings.jitter, like=view).view(3, n, 1, 1)
    noisy = torch.maximum(noisy, _DETECTION * rms) * gain[0]
    velocity = torch.where(detected, velocity * gain[1], 0.0)
    sigma = torch.where(detected, sigma * gain[2], _SIGMA_INSTRUMENT)
    return torch.stack((noisy.log10() + log_mean[:, None, None], velocity, sigma), 1)


def make_views(
    flames: torch.Tensor,
    settings: ViewSettings,
    plan: list[tuple[int, int, tuple[float, float]]],
    scaling: Scaling,
) -> list[torch.Tensor]:
    """Make views of a batch of flames, drawn from torch's current generator.

    Parameters
    ----------
    flames : `~torch.Tensor`
        As for `prepare_flames`.
    settings : `ViewSettings`
        How views differ.
    plan : list of tuple
        (number of views, their size in pixels, smallest and largest part of the flame's edge).
    scaling : `~stellarssl.encoder.Scaling`
        How maps become network input.

    Returns
    -------
    views : list of `~torch.Tensor`
        For each entry of ``plan`` its views, one after another: (number * n, 3, size, size).
    """
    if settings.recipe == "imagenet":
        return [scaling(view) for view in imagenet_views(flames, plan)]
    physical = scaling.kind == "physical"
    sums, focus = prepare_flames(flames, settings, physical=physical)
    low, high = (math.log(value) for value in settings.zoom)
    extent = flames.shape[-1] * torch.exp(_uniform(len(flames), low, high, like=sums))
    shared = torch.zeros_like(extent)
    if settings.shared_beam:
        shared = extent * settings.shared_beam * _uniform(len(flames), 0, 1, like=sums) ** 2
    views = []
    for number, size, scale in plan:
        group = []
        for _ in range(number):
            view = _crop(sums, focus, extent, shared, settings, scale, size)
            group.append(_observe(view, focus[:, 2], settings) if physical else view)
        views.append(scaling(torch.cat(group)))
    return views
