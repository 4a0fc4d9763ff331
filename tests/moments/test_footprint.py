"""Only what is wanted is read, and it comes out the same."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits

from stellarssl import moment_maps, moment_plan, read_cube, source_footprint
from stellarssl.exceptions import InputError, MissingInputError
from stellarssl.moments.blocks import runs


@pytest.fixture
def wide(rng, gaussian):
    """A row of clouds, with a strip that was not observed and noise that rises along x."""
    shape = (80, 60, 300)
    y, x = np.mgrid[: shape[1], : shape[2]]
    peak = 4 * np.exp(-((x % 60 - 30) ** 2 + (y - 30) ** 2) / (2 * 8.0**2))
    line = gaussian(shape, peak=peak, v=0.01 * (x - 150), sigma=0.6)
    values = line + (0.1 + 0.001 * x) * rng.normal(0, 1, shape)
    values[:, :, 100:140] = np.nan
    return values.astype(np.float32)


def assert_same_within(part, whole, footprint):
    for name in ("moment0", "v_los", "sigma_v", "peak", "noise"):
        one, other = getattr(part, name).value, getattr(whole, name).value
        np.testing.assert_array_equal(one[footprint], other[footprint], err_msg=name)
        assert np.isnan(one[~footprint]).all()
    for name, error in part.errors.items():
        np.testing.assert_array_equal(error.value[footprint], whole.errors[name].value[footprint])
    np.testing.assert_array_equal(part.detected, whole.detected & footprint)
    np.testing.assert_array_equal(part.covered, whole.covered & footprint)
    assert part.meta["kappa"] == whole.meta["kappa"]


@pytest.mark.parametrize("options", [{}, {"noise": "0.2 K"}, {"mask": True}])
def test_same_in_the_wanted_pixels(wide, make_hdu, options):
    hdu = make_hdu(wide)
    if "mask" in options:
        options = {"mask": wide > 0.5}
    footprint = np.zeros(wide.shape[1:], bool)
    footprint[25:40, 20:41] = True
    footprint[10:20, 90:105] = True  # at the edge of what was observed, and beyond
    footprint[50:, 270:] = True
    whole = moment_maps(hdu, n_threads=1, **options)
    for kilobytes, n_threads in ((100000, 1), (1500, 2)):
        limit = kilobytes * u.kbyte
        part = moment_maps(
            hdu, footprint=footprint, memory_limit=limit, n_threads=n_threads, **options
        )
        assert_same_within(part, whole, footprint)


def test_what_is_far_is_not_read(rng, make_hdu, tmp_path):
    """A block of channels is 4001 pixels wide; two sources need a few hundred."""

    class Counting:
        """Counts the voxels that are asked for."""

        def __init__(self, array):
            self.array, self.shape, self.dtype, self.ndim = array, array.shape, array.dtype, 3
            self.n_read = 0

        def __getitem__(self, view):
            part = self.array[view]
            self.n_read += part.size
            return part

    values = rng.normal(0, 0.1, (70, 24, 4001)).astype(np.float32)
    values[30:40, 10:14, 500:504] += 3
    cube = read_cube(make_hdu(values))
    object.__setattr__(cube, "data", counting := Counting(values))
    footprint = np.zeros(values.shape[1:], bool)
    footprint[8:16, 490:520] = footprint[8:16, 3000:3010] = True
    maps = moment_maps(cube, footprint=footprint, noise="0.1 K", n_threads=1)
    assert maps.detected[11, 501]
    counting.n_read = 0
    plan = moment_plan(cube, footprint=footprint)
    assert counting.n_read == 0
    pixels = sum(
        (b.read_rows.stop - b.read_rows.start) * (b.read_columns.stop - b.read_columns.start)
        for b in plan.blocks
    )
    assert pixels < 0.05 * values[0].size
    assert "of the map" in str(plan)


def test_stretches_by_hand():
    flags = np.array([0, 1, 1, 0, 1, 0, 0, 0, 1], bool)
    assert runs(flags) == [slice(1, 3), slice(4, 5), slice(8, 9)]
    assert runs(flags, 1) == [slice(1, 5), slice(8, 9)]
    assert runs(flags[:1]) == []


def test_footprint_of_sources(make_hdu):
    """A tile of 0.5 pc at 1 kpc is 2.865 pixels of 36 arcsec: 1.43, a beam and 2 on each side."""
    hdu = make_hdu(np.ones((4, 40, 60), np.float32), beam=3.0)
    cube = read_cube(hdu, distance="1 kpc")
    sky = cube.wcs.pixel_to_world([10, 50, 500, 59.9], [20, 5, 5, 39])
    footprint = source_footprint(cube, sky)
    expected = np.zeros((40, 60), bool)
    expected[14:27, 4:17] = expected[:12, 44:57] = expected[33:, 53:] = True
    np.testing.assert_array_equal(footprint, expected)
    np.testing.assert_array_equal(source_footprint(cube, sky.galactic), expected)
    near = source_footprint(cube, sky[:1], distance="500 pc")
    assert near.sum(axis=1).max() == 17  # 2.865 + 5 on each side of 10: pixels 2 to 18
    assert not source_footprint(cube, sky[2:3]).any()


def test_footprint_on_a_rotated_map(make_hdu):
    """At 45 degrees a square's corners are 2^1/2 of its half side from the center."""
    hdu = make_hdu(np.ones((4, 200, 200), np.float32), beam=1.0)
    half = np.sqrt(0.5)
    hdu.header.update(PC1_1=half, PC1_2=-half, PC2_1=half, PC2_2=half)
    cube = read_cube(hdu)
    width = 100 * 0.01 * np.pi / 180 * u.kpc  # of 100 pixels
    footprint = source_footprint(
        cube, cube.wcs.pixel_to_world(100, 100), distance="1 kpc", width=width
    )
    # 70.71 + 3 on each side of pixel 100: pixels 26 to 174
    assert footprint.any(axis=0).sum() == 149


def test_refusals(cloud, make_hdu):
    hdu = make_hdu(cloud)
    star = SkyCoord(52, 30, unit="deg")
    with pytest.raises(
        InputError, match=r"footprint: must be a boolean .* \(48, 56\); got \(3, 3\)"
    ):
        moment_maps(hdu, footprint=np.ones((3, 3), bool))
    with pytest.raises(InputError, match=r"footprint: must be a boolean .* 'dtype float64'"):
        moment_plan(hdu, footprint=np.ones((48, 56)))
    with pytest.raises(InputError, match="footprint: must hold a pixel"):
        moment_maps(hdu, footprint=np.zeros((48, 56), bool))
    with pytest.raises(MissingInputError, match="distance: must be given"):
        source_footprint(hdu, star)
    with pytest.raises(InputError, match="distance: must be one, or one per position"):
        source_footprint(hdu, star, distance=[1, 2] * u.kpc)
    with pytest.raises(InputError, match="positions: must be a SkyCoord"):
        source_footprint(hdu, (52, 30), distance="1 kpc")
    assert isinstance(hdu, fits.PrimaryHDU)
