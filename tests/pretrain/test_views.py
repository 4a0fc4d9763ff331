"""Views of flames: what a telescope would see of them."""

import numpy as np
import pytest
import torch

from stellarssl.encoder import Scaling
from stellarssl.pretrain import views as telescope
from stellarssl.pretrain.views import ViewSettings, make_views, prepare_flames

QUIET = ViewSettings(beam=0.0, snr=(1e6, 1e6), jitter=0.0, mirror_velocity=False, wander=0.0)


def uniform_flames(n=2, size=48, log_n=22.5, velocity=0.0, sigma=0.6):
    flames = torch.empty(n, 3, size, size)
    flames[:, 0], flames[:, 1], flames[:, 2] = log_n, velocity, sigma
    return flames


def rough_flames(n=4, size=48, seed=0):
    rng = np.random.default_rng(seed)
    flames = np.stack(
        (
            rng.normal(22, 0.5, (n, size, size)),
            rng.normal(0.3, 0.8, (n, size, size)),
            rng.gamma(3, 0.2, (n, size, size)),
        ),
        axis=1,
    )
    return torch.from_numpy(flames.astype(np.float32))


def whole(flames, settings, seed=0):
    """One view of the whole flame, in physical units."""
    torch.manual_seed(seed)
    size = flames.shape[-1]
    sums, focus = prepare_flames(flames, settings, physical=True)
    extent, no_beam = torch.tensor(float(size)), torch.tensor(0.0)
    view = telescope._crop(sums, focus, extent, no_beam, settings, (1.0, 1.0), size)
    return telescope._observe(view, focus[:, 2], settings)


def test_a_uniform_flame_is_seen_as_it_is():
    """No crop, turn or beam changes a constant; the zero of velocity is the flame's mean."""
    settings = ViewSettings(beam=6.0, snr=(1e6, 1e6), jitter=0.0)
    flames = uniform_flames(velocity=1.7)
    for view in make_views(flames, settings, [(2, 32, (0.3, 0.9)), (3, 16, (0.1, 0.4))], Scaling()):
        expected = [0.5, 0.0, (np.log10(np.hypot(0.6, 0.19)) + 0.4) / 0.3]
        for channel, value in enumerate(expected):
            torch.testing.assert_close(
                view[:, channel], torch.full_like(view[:, channel], value), atol=2e-3, rtol=0
            )


def test_shapes():
    views = make_views(rough_flames(4), ViewSettings(), [(2, 32, (0.5, 1)), (3, 16, (0.2, 0.5))],
                       Scaling())  # fmt: skip
    assert [tuple(view.shape) for view in views] == [(8, 3, 32, 32), (12, 3, 16, 16)]
    assert all(view.isfinite().all() for view in views)


def test_a_beam_turns_shear_into_dispersion():
    """Two speeds at +-1 km/s under one beam: no mean velocity, a dispersion of 1 km/s."""
    flames = uniform_flames(1, 48, sigma=0.0)
    flames[0, 1, :, 0::2], flames[0, 1, :, 1::2] = 1.0, -1.0
    sums, _ = prepare_flames(flames, QUIET, physical=True)
    wide = telescope._operator(torch.tensor([24.0]), torch.tensor([24.0]), torch.tensor([8.0]),
                            (48, 12))  # fmt: skip
    column, first, second = (wide[:, None] @ sums @ wide.mT[:, None])[0]
    torch.testing.assert_close(column, torch.ones(12, 12), atol=1e-4, rtol=0)
    assert (first / column).abs().max() < 1e-3
    torch.testing.assert_close((second / column).sqrt(), torch.ones(12, 12), atol=1e-3, rtol=0)


def test_velocities_are_averaged_with_the_column_as_weight():
    """Ten times the column at +1 km/s beside -1 km/s: the mean is 9/11."""
    flames = uniform_flames(1, 48)
    flames[0, 0, :, 0::2] = 23.5
    flames[0, 1, :, 0::2], flames[0, 1, :, 1::2] = 1.0, -1.0
    sums, focus = prepare_flames(flames, QUIET, physical=True)
    zero = (sums[0, 1] / sums[0, 0])[0, 0]
    assert float(1 - zero) == pytest.approx(9 / 11, abs=1e-5)
    assert float(focus[0, 2]) == pytest.approx(np.log10((10 + 1) / 2) + 22.5, abs=1e-5)


def test_the_beam_has_the_width_that_it_is_asked_for():
    """A point under a beam of 8 pixels: the profile falls to half at 4 pixels."""
    kernel = telescope._operator(torch.tensor([48.5]), torch.tensor([97.0]), torch.tensor([8.0]),
                              (97, 97))[0]  # fmt: skip
    profile = kernel[:, 48] / kernel[48, 48]
    fwhm = np.hypot(8, 1.2)
    expected = np.exp(-4 * np.log(2) * (np.arange(97) - 48) ** 2 / fwhm**2)
    np.testing.assert_allclose(profile, expected, atol=0.02)


def test_a_shared_beam_is_one_for_all_views_of_a_flame():
    """Points under beams of up to 0.4 of 97 pixels: two views alike, half of them below 0.1."""
    n, size = 200, 97
    flames = uniform_flames(n, size, log_n=10.0)
    flames[:, 0, size // 2, size // 2] = 24.0
    settings = ViewSettings(
        beam=0.0, shared_beam=0.4, snr=(1e9, 1e9), jitter=0.0, mirror_velocity=False, wander=0.0
    )
    torch.manual_seed(0)
    (views,) = make_views(flames, settings, [(2, size, (1.0, 1.0))], Scaling())
    row = 10 ** views[:, 0, size // 2].double()
    fwhm = (row > row.max(1, keepdim=True).values / 2).sum(1).double()
    assert (fwhm[:n] == fwhm[n:]).all()
    assert 0.3 * size < fwhm.max() < 0.4 * size + 2
    assert float(fwhm[:n].median()) == pytest.approx(0.1 * size, rel=0.15)


def test_the_mirror_is_one_for_all_views_of_a_flame():
    flames = rough_flames(16)
    flames[:, 1] = torch.linspace(-2, 2, 48)[None, :, None] ** 3
    flames[:, 0] = 22.0
    settings = ViewSettings(beam=0, snr=(1e6, 1e6), jitter=0, wander=0.0)
    torch.manual_seed(0)
    sums, _ = prepare_flames(flames, settings, physical=True)
    plain, _ = prepare_flames(flames, QUIET, physical=True)
    signs = (sums[:, 1] * plain[:, 1]).sum((1, 2)).sign()
    assert set(signs.tolist()) == {-1.0, 1.0}
    torch.testing.assert_close(sums[:, 1], plain[:, 1] * signs[:, None, None])
    torch.testing.assert_close(sums[:, 2], plain[:, 2])


def test_a_calibration_changes_every_channel_by_at_most_its_jitter():
    settings = ViewSettings(beam=0, snr=(1e6, 1e6), jitter=0.05, mirror_velocity=False, wander=0)
    flames = uniform_flames(64)
    view = whole(flames, settings)
    gain = 10 ** (view[:, 0] - 22.5)
    assert 0.949 < gain.min() < 0.97
    assert 1.03 < gain.max() < 1.051
    assert (view[:, 2] / 0.6 - 1).abs().max() < 0.051
    assert gain.flatten(1).std(1).max() < 1e-3


def test_noise_has_the_size_that_it_is_asked_for():
    """At S/N 50 of the mean column a uniform flame scatters by 1/50 in column."""
    settings = ViewSettings(beam=0, snr=(50, 50), jitter=0, mirror_velocity=False, wander=0)
    view = whole(uniform_flames(8), settings)
    column = 10 ** (view[:, 0] - 22.5)
    assert float(column.std()) == pytest.approx(0.02, rel=0.05)
    assert float(view[:, 1].std()) == pytest.approx(0.6 / 50, rel=0.05)


def test_what_is_not_detected_holds_the_limit():
    """Below 3 sigma: log10 of the limit, v = 0, the instrument's dispersion."""
    settings = ViewSettings(beam=0, snr=(20, 20), jitter=0, mirror_velocity=False, wander=0)
    flames = uniform_flames(1, velocity=0.4)
    flames[0, 0, :24] = 18.0
    view = whole(flames, settings)
    limit = np.log10(3 / 20 * (10**22.5 + 10**18) / 2)
    at_limit = (view[0, 0] - limit).abs() < 1e-4
    assert 0.4 < at_limit.float().mean() < 0.6
    assert (view[0, 1][at_limit] == 0).all()
    assert torch.allclose(view[0, 2][at_limit], torch.tensor(0.1))


def test_the_focus_follows_the_column():
    flames = uniform_flames(200, log_n=20.0)
    flames[:, 0, 30, 10] = 26.0
    _, focus = prepare_flames(flames, QUIET, physical=True)
    near = (focus[:, :2] == torch.tensor([30.5, 10.5])).all(1)
    assert near.float().mean() > 0.95


def test_empty_pixels_weigh_nothing():
    flames = uniform_flames(1, velocity=0.5)
    flames[0, :, :10] = np.nan
    sums, focus = prepare_flames(flames, QUIET, physical=True)
    assert (sums[0, :, :10] == 0).all()
    assert float(focus[0, 2]) == pytest.approx(22.5 + np.log10(38 / 48), abs=1e-5)


def test_views_stay_inside_the_flame():
    """A crop at a corner is moved in: no pixel is made of anything but the flame."""
    flames = uniform_flames(64, log_n=21.0)
    flames[:, 0, 0, 0] = 26.0
    settings = ViewSettings(beam=0, snr=(1e6, 1e6), jitter=0, wander=0.5)
    torch.manual_seed(0)
    sums, focus = prepare_flames(flames, settings, physical=True)
    extent, no_beam = torch.tensor(48.0), torch.tensor(0.0)
    view = telescope._crop(sums * 0 + 1, focus, extent, no_beam, settings, (0.2, 0.5), 16)
    torch.testing.assert_close(view, torch.ones_like(view), atol=1e-4, rtol=0)


def test_all_views_share_the_extent_of_their_flame():
    """A quarter of 48 pixels on 24: with 0.1 km/s a pixel of the flame, 0.05 km/s a pixel."""
    flames = uniform_flames(8)
    flames[:, 1] = 0.1 * torch.arange(48)
    settings = ViewSettings(beam=0, snr=(1e6, 1e6), jitter=0, mirror_velocity=False, wander=0,
                            zoom=(0.25, 0.25))  # fmt: skip
    torch.manual_seed(0)
    for view in make_views(flames, settings, [(2, 24, (1.0, 1.0))], Scaling()):
        along_x, along_y = (view[:, 1].diff(dim=dim)[:, 8:16, 8:16].abs() for dim in (2, 1))
        steepest = torch.maximum(along_x.mean((1, 2)), along_y.mean((1, 2)))
        torch.testing.assert_close(steepest, torch.full((16,), 0.05), atol=1e-3, rtol=0)


def test_orientations_are_all_eight():
    flames = torch.zeros(1, 3, 48, 48)
    flames[0, 0] = 22 + torch.linspace(0, 1, 48)[:, None] + torch.linspace(0, 0.3, 48)[None, :]
    flames[0, 2] = 0.5
    seen = set()
    for seed in range(60):
        view = whole(flames, QUIET, seed)[0, 0]
        corners = torch.stack((view[0, 0], view[0, -1], view[-1, 0], view[-1, -1]))
        seen.add(tuple(corners.argsort().tolist()))
    assert len(seen) == 8


def test_colors_are_cut_and_turned_only():
    flames = torch.rand(2, 3, 48, 48)
    views = make_views(flames, ViewSettings(), [(2, 32, (0.5, 1.0))], Scaling(kind="minmax"))
    assert views[0].shape == (4, 3, 32, 32)
    assert views[0].amin() == 0
    assert views[0].amax() == 1
