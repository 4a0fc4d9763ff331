"""Each refusal says which argument, what it must be and what it is."""

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits

from stellarssl import moment_maps
from stellarssl._utils import compiled
from stellarssl.exceptions import (
    InputError,
    MissingInputError,
    NoSignalError,
    StellarSSLWarning,
    UnknownLineError,
)
from stellarssl.moments import core
from stellarssl.moments.blocks import available_memory, make_plan


def refuse(hdu, match, error=InputError, **options):
    with pytest.raises(error, match=match):
        moment_maps(hdu, **options)


def test_no_signal(rng, make_hdu):
    hdu = make_hdu(rng.normal(0, 1, (40, 30, 30)))
    refuse(hdu, r"no signal: the peak is [345]\.\d sigma \(mask=, noise=\)", NoSignalError)
    nothing = np.zeros((40, 30, 30), bool)
    refuse(hdu, "no signal: the mask holds none", NoSignalError, mask=nothing)


def test_all_nan(make_hdu):
    refuse(make_hdu(np.full((10, 8, 8), np.nan)), "must hold finite values")


def test_one_channel(make_hdu):
    refuse(make_hdu(np.ones((1, 8, 8))), "must have two channels or more")


def test_mask(cloud, make_hdu):
    hdu = make_hdu(cloud)
    rule = "mask: must be a boolean array with 3 axes, or a FITS file; got "
    refuse(hdu, rule + r"\(48, 56\)", mask=np.ones((48, 56), bool))
    refuse(hdu, rule + "'dtype float64'", mask=np.ones(cloud.shape))
    rule = r"mask: must be a boolean array of the cube's shape \(64, 48, 56\); got "
    refuse(hdu, rule + r"\(64, 56, 48\)", mask=np.ones((64, 56, 48), bool))
    refuse(hdu, "mask: file not found; got 'none.fits'", mask="none.fits")


def test_velocity_range(cloud, make_hdu):
    hdu = make_hdu(cloud)
    rule = r"velocity_range: must hold two channels or more of 0\.2 km / s in -6\.2 to 6\.4 km/s"
    refuse(hdu, rule, velocity_range="100 200 km/s")
    refuse(hdu, rule, velocity_range="0.05 0.1 km/s")
    refuse(hdu, "velocity_range: must be two values", velocity_range="5 km/s")


def test_noise(cloud, make_hdu):
    hdu = make_hdu(cloud)
    rule = r"noise: must be a quantity in K or K: a number, a map \(48, 56\) or a cube"
    refuse(hdu, rule + r".*got \(56, 48\)", noise=np.ones((56, 48)) * u.K)
    refuse(hdu, rule + ".*got 'unit Jy'", noise="0.1 Jy")
    rule = "noise: must be a quantity with a unit, such as '0.1 K', or a FITS file; got "
    refuse(hdu, rule + "'a number without a unit'", noise=0.1)
    refuse(hdu, rule + "'much'", noise="much")
    refuse(hdu, "noise: must be finite and not below zero", noise=-0.1 * u.K)


def test_efficiency(cloud, make_hdu):
    hdu = make_hdu(cloud, BUNIT="K (Ta*)")
    refuse(hdu, r"efficiency: must be given, as .* is in T_A\*", MissingInputError)
    refuse(hdu, "efficiency: must be above 0 and at most 1; got 1.3", efficiency=1.3)
    refuse(hdu, "efficiency: must be a number", efficiency="half")
    there = make_hdu(cloud, BUNIT="K (Tmb)")
    refuse(there, r"efficiency: applies to T_A\*, not to a cube in T_mb", efficiency=0.5)


def test_tracer(cloud, make_hdu):
    hdu = make_hdu(cloud, RESTFRQ=145e9)
    with pytest.warns(StellarSSLWarning, match="no column.*tracer: .*no known line is at 145 GHz"):
        maps = moment_maps(hdu)
    assert maps.tracer is None
    with pytest.raises(MissingInputError, match="tracer: must be given for a column"):
        _ = maps.n_h
    rule = r"tracer: must be HI, .* \(did you mean 13CO.* or .*\?\); got '13CC'"
    refuse(hdu, rule, UnknownLineError, tracer="13CC")


def test_scale(cloud, make_hdu):
    refuse(make_hdu(cloud), "max_recoverable_scale: must be", max_recoverable_scale="3 pc")


def test_resources(cloud, make_hdu):
    hdu = make_hdu(cloud)
    refuse(hdu, "n_threads: must be a whole number of 1 or more; got 0", n_threads=0)
    refuse(hdu, "memory_limit: must be above zero", memory_limit=-1)
    refuse(hdu, "memory_limit: must be a quantity convertible to", memory_limit="3 K")
    refuse(hdu, r"memory_limit: must be 0\.0\d+ MB or more here; got '1 kB'", memory_limit="1 kB")


def test_truncated_later(cloud, make_hdu, tmp_path):
    path = tmp_path / "cube.fits"
    make_hdu(cloud).writeto(path)
    path.write_bytes(path.read_bytes()[:50000])
    refuse(path, "truncated|whole FITS file")


@pytest.mark.parametrize("shape", [(100, 500, 400), (4000, 3000, 3000), (20000, 30, 30)])
@pytest.mark.parametrize("margin", [0, 3, 10])
def test_plan_covers_the_map_within_its_memory(shape, margin):
    limit = 2 * 10**9
    plan = make_plan(shape, margin=margin, memory_limit=limit, n_threads=4)
    seen = np.zeros(shape[1:], np.uint8)
    most = 0
    for block in plan.blocks:
        seen[block.rows, block.columns] += 1
        n_y = block.read_rows.stop - block.read_rows.start
        n_x = block.read_columns.stop - block.read_columns.start
        most = max(most, n_y * n_x * shape[0] * 12)
        for inner, outer, n in (
            (block.rows, block.read_rows, shape[1]),
            (block.columns, block.read_columns, shape[2]),
        ):
            assert outer.start == max(inner.start - margin, 0)
            assert outer.stop == min(inner.stop + margin, n)
    assert (seen == 1).all()
    assert plan.n_threads * most <= plan.memory <= limit
    assert "blocks of" in str(plan)


def test_small_memory_means_more_blocks():
    plans = [make_plan((500, 200, 200), margin=3, memory_limit=m) for m in ("5 MB", "1 GB")]
    assert len(plans[0].blocks) > 10 * len(plans[1].blocks) / 2
    assert available_memory() > 10**7


def test_kernels_compile_where_nothing_can_be_written(monkeypatch):
    """Numba finds no place for its cache in a read-only installation without a home."""

    def njit(**options):
        if options.pop("cache", False):
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(compiled, "njit", njit)
    assert compiled.compiled(len)([1, 2]) == 2


def test_a_broken_block_is_not_swallowed(cloud, make_hdu, monkeypatch):
    def fail(*_):
        raise OSError("the disk is gone")

    monkeypatch.setattr(core, "read_block", fail)
    with pytest.raises(OSError, match="the disk is gone"):
        moment_maps(make_hdu(cloud))


def test_progress_bars(cloud, make_hdu, capsys):
    moment_maps(fits.HDUList([make_hdu(cloud)]), progress=True)
    said = capsys.readouterr().err
    assert "noise" in said
    assert "moments" in said
