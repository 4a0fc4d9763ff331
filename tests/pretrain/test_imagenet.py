"""The recipe of views that DINO was published with, for colors."""

import pytest
import torch

from stellarssl.encoder import Scaling
from stellarssl.pretrain.imagenet import imagenet_views
from stellarssl.pretrain.views import ViewSettings, make_views

PLAN = [(2, 32, (0.57, 1.0)), (3, 16, (0.22, 0.57))]


def ramps(n=64, size=48):
    """Images whose three colors are ramps in x, in y, and a constant."""
    across = torch.linspace(0.2, 0.8, size).expand(size, size)
    return torch.stack((across, across.T, torch.full((size, size), 0.5))).expand(n, 3, size, size)


def test_views_are_floats_of_the_plan():
    torch.manual_seed(0)
    large, small = imagenet_views(ramps(4), PLAN)
    assert (tuple(large.shape), tuple(small.shape)) == ((8, 3, 32, 32), (12, 3, 16, 16))
    assert large.dtype == torch.float32
    assert len(torch.unique(large)) > 256  # no 8-bit step on the way
    assert 0 <= min(large.min(), small.min()) <= max(large.max(), small.max()) <= 1


def test_the_seed_decides_and_every_image_has_its_own_draw():
    torch.manual_seed(3)
    first = imagenet_views(ramps(8), PLAN)
    torch.manual_seed(3)
    second = imagenet_views(ramps(8), PLAN)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert len({tuple(view.flatten()[:50].tolist()) for view in first[0]}) == 16


def test_probabilities():
    """One of five is gray; half are mirrored, so that the ramp in x falls."""
    torch.manual_seed(1)
    large, _ = imagenet_views(ramps(400), [(2, 24, (0.6, 1.0)), (0, 16, (0.2, 0.5))])
    gray = (large - large.mean(1, keepdim=True)).abs().amax((1, 2, 3)) < 1e-4
    assert gray.float().mean() == pytest.approx(0.2, abs=0.045)  # three standard errors
    plain = large[:400][~gray[:400]]
    slope = plain[:, 0, :, -1].mean(1) - plain[:, 0, :, 0].mean(1)
    falling = (slope < 0).float().mean()  # hue jitter can turn it, rarely
    assert falling == pytest.approx(0.5, abs=0.1)


def test_the_second_view_alone_is_solarised():
    """Without color jitter, what lies above a half is turned over in one case of five."""
    torch.manual_seed(2)
    bright = torch.full((300, 3, 16, 16), 0.9)
    large, small = imagenet_views(bright, [(2, 16, (0.9, 1.0)), (1, 16, (0.9, 1.0))])
    dark = large.amax((1, 2, 3)) < 0.5
    assert not dark[:300].any()
    assert dark[300:].float().mean() == pytest.approx(0.2, abs=0.07)
    assert not (small.amax((1, 2, 3)) < 0.5).any()


def test_views_of_a_preset_are_scaled_after():
    torch.manual_seed(0)
    flames = ramps(4).clone()
    flames[:, :, 0, 0] = torch.nan
    views = make_views(flames, ViewSettings(recipe="imagenet"), PLAN, Scaling(kind="minmax"))
    for view in views:
        assert view.isfinite().all()
        assert view.amin((2, 3)).abs().max() == 0
        assert view.amax() == 1
