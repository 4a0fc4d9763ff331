"""Clouds with a star inside: gas that obeys what was asked for, and what it looks like."""

from dataclasses import replace

import astropy.units as u
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from stellarssl.exceptions import InputError
from stellarssl.observe import Observation, observe_tiles
from stellarssl.pretrain.clouds import (
    Cloud,
    CloudParameters,
    Layer,
    Protostar,
    cloud_at,
    draw_layers,
    make_cloud,
    project,
    project_maps,
    read_recipe,
    recipe,
    ring_spectra,
)
from stellarssl.pretrain.fractals.draws import Draws
from stellarssl.spectra import spectra_from_arrays

CELL = 0.0078125
AXIS = (np.arange(64) - 31.5) * CELL
X, Y, Z = np.meshgrid(AXIS, AXIS, AXIS, indexing="ij")
RADIUS = np.sqrt(X**2 + Y**2 + Z**2)
QUIET = CloudParameters(gas_mass=50.0, scatter=0.0, turbulence=0.0)
UNIFORM = 50 / 64**3


def cloud(seed=0, **changes):
    return make_cloud(replace(QUIET, **changes), np.random.default_rng(seed))


@pytest.fixture(scope="module")
def random_clouds():
    return [cloud_at(read_recipe(), 5, index) for index in range(8)]


# ---------------------------------------------------------------- density


def test_the_gas_weighs_what_was_asked_for(random_clouds):
    for each in random_clouds:
        assert_allclose(each.density.sum(), each.parameters.gas_mass, rtol=1e-5)
        assert (each.density > 0).all()


def test_an_envelope_has_its_slope_beyond_the_core():
    star = Protostar(0.0, share=1.0, slope=2.0, core=0.004)
    density = cloud(stars=(star,)).density.numpy()
    # along x, from (4.5, 0.5, 0.5) to (28.5, 0.5, 0.5) cells: r = 0.0356 and 0.2227 pc;
    # (0.222725^2 + 0.004^2) / (0.035588^2 + 0.004^2) = 38.69
    assert_allclose(density[36, 32, 32] / density[60, 32, 32], 38.69, rtol=1e-3)
    steep = cloud(stars=(replace(star, slope=2.6),)).density.numpy()
    assert_allclose(steep[36, 32, 32] / steep[60, 32, 32], 38.69**1.3, rtol=2e-3)


def test_an_envelope_holds_its_share_around_its_own_center():
    star = Protostar(1.0, position=(0.1, 0.0, -0.05), share=0.3, offset=(0.0, 0.01, 0.0))
    density = cloud(stars=(Protostar(0.0), star)).density.numpy() - 0.7 * UNIFORM
    assert_allclose(density.sum(), 15, rtol=1e-4)
    place = np.unravel_index(density.argmax(), density.shape)
    assert_allclose([AXIS[i] for i in place], (0.1, 0.01, -0.05), atol=CELL)


def test_turbulent_density_has_its_scatter_and_slope():
    each = cloud(scatter=1.7, slope=3.6)
    log_density = np.log(each.density.numpy().astype(float))
    assert_allclose(log_density.std(), 1.7, rtol=1e-4)
    power = np.abs(np.fft.fftn(log_density)) ** 2
    k = np.sqrt(sum(f**2 for f in np.meshgrid(*[np.fft.fftfreq(64) * 64] * 3)))
    levels = [power[(k >= low) & (k < low + 1)].mean() for low in (6, 7, 20, 21)]
    # the means of k over the shells are near 7 and 21
    ratio = np.log(sum(levels[:2]) / sum(levels[2:])) / np.log(3)
    assert_allclose(ratio, 3.6, atol=0.15)


def test_the_densest_gas_is_moved_to_the_center():
    each = cloud(scatter=2.0, centered=True, seed=4)
    blocks = each.density.numpy()[2:62, 2:62, 2:62].reshape(15, 4, 15, 4, 15, 4).sum((1, 3, 5))
    assert np.unravel_index(blocks.argmax(), blocks.shape) == (7, 7, 7)


def test_ridges_make_the_density_skewed():
    plain, ridged = (
        np.log(cloud(scatter=1.5, ridge_share=share).density.numpy()) for share in (0.0, 0.8)
    )
    skewness = [float((((x - x.mean()) / x.std()) ** 3).mean()) for x in (plain, ridged)]
    assert abs(skewness[0]) < 0.3
    assert skewness[1] < -0.5  # -abs(g) has -0.995


def test_gas_masses_are_counted_in_spheres():
    # uniform gas: 4/3 pi 0.12^3 / 0.5^3 of 50 solar masses
    masses = cloud().gas_masses
    assert_allclose(masses[3], 50 * 4 / 3 * np.pi * 0.12**3 / 0.125, rtol=0.01)
    # 32 cells have centers within 0.015 pc = 1.92 cells: 8 at 0.87 and 24 at 1.66 cells
    assert_allclose(masses[0], 32 * UNIFORM, rtol=1e-5)


# ---------------------------------------------------------------- velocity


def point_mass(**motion):
    motion = {"softening": 1e-6, "infall_radius": 10.0, "rotation_radius": 10.0} | motion
    return cloud(stars=(Protostar(4.0, **motion),))


def test_free_fall_about_a_point_mass():
    velocity = point_mass(infall=1.0).velocity.numpy()
    inward = -(velocity[0] * X + velocity[1] * Y + velocity[2] * Z) / RADIUS
    # sqrt(2 * 0.0043009 * 4) km/s at 1 pc
    assert_allclose(inward, 0.185492 / np.sqrt(RADIUS), rtol=1e-4)
    assert_allclose((velocity**2).sum(0), inward**2, rtol=1e-4)


def test_keplerian_rotation_about_a_point_mass():
    velocity = point_mass(rotation=1.0, axis=(0.0, 0.0, 1.0)).velocity.numpy()
    assert_allclose(velocity[2], 0, atol=1e-6)
    # sqrt(0.0043009 * 4) km/s at 1 pc, and the sine of the polar angle
    cylinder = np.hypot(X, Y)
    around = (X * velocity[1] - Y * velocity[0]) / cylinder
    assert_allclose(around, 0.131163 / np.sqrt(RADIUS) * cylinder / RADIUS, rtol=1e-4)


def test_motion_is_softened_and_ends():
    softening, reach = 0.02, 0.1
    velocity = point_mass(infall=0.5, softening=softening, infall_radius=reach).velocity.numpy()
    softened = np.sqrt(RADIUS**2 + softening**2)
    expected = 0.5 * 0.185492 / np.sqrt(softened) * (RADIUS / softened)
    expected = expected * np.exp(-((RADIUS / reach) ** 4))
    assert_allclose(np.sqrt((velocity**2).sum(0)), expected, rtol=1e-4, atol=1e-6)


def test_the_gas_adds_to_the_gravity():
    star = Protostar(0.0, softening=1e-6, infall=1.0, infall_radius=10.0, gas_gravity=0.5)
    velocity = cloud(stars=(star,)).velocity.numpy()
    at = (54, 32, 32)  # r = 22.5 cells = 0.176 pc
    # half of uniform gas: 25 * 4/3 pi r^3 / 0.125 = 4.56 solar masses; v^2 = 2 G M / r
    mass = 25 * 4 / 3 * np.pi * RADIUS[at] ** 3 / 0.125
    assert_allclose(-velocity[0][at], np.sqrt(2 * 0.0043009 * mass / RADIUS[at]), rtol=0.03)


def test_turbulence_has_its_dispersion_and_the_star_is_at_rest():
    each = cloud(turbulence=0.8, drift=(0.1, 0.0, -0.2))
    assert_allclose(each.velocity.numpy().std((1, 2, 3)), 0.8, rtol=1e-4)
    weight = np.exp(-(RADIUS**2) / (2 * (2 * CELL) ** 2))
    mean = (each.velocity.numpy() * weight).sum((1, 2, 3)) / weight.sum()
    assert_allclose(mean, (0.1, 0, -0.2), atol=1e-3)


# ---------------------------------------------------------------- projection


def test_the_line_holds_the_projected_column(random_clouds):
    # 1.98841e33 g / (1.4 * 1.67262e-24 g) / (3.08568e18 cm)^2 = 8.9182e19 hydrogen nuclei per cm^2
    for axis, number in (("x", 0), ("y", 1), ("z", 2)):
        each = random_clouds[number]
        each = replace(each, velocity=each.velocity.clamp(-4, 4))
        image = project(each, axis)
        column = each.density.sum(number) / CELL**2 * 8.9182e19 / 1e22
        column = column.T if axis in "xz" else column
        assert_allclose(image.ppv.sum(0) * 0.125, column, rtol=1e-3)
        assert_allclose(10.0 ** (image.maps[0] - 22), column, rtol=2e-4)


def test_mean_velocities_and_dispersions_of_lines_are_those_of_the_maps(random_clouds):
    velocity = (torch.arange(96) - 47.5)[:, None, None] * 0.125
    for each in random_clouds[:3]:
        ppv, maps = project(replace(each, velocity=each.velocity.clamp(-3, 3)), "y")
        mean = (ppv * velocity).sum(0) / ppv.sum(0)
        variance = (ppv * velocity**2).sum(0) / ppv.sum(0) - mean**2
        assert_allclose(mean, maps[1], atol=0.01)
        # CO at 10 K (0.054 km/s) and the width of a channel
        expected = maps[2] ** 2 + 0.054**2 + 0.125**2 / 12
        assert_allclose(variance.sqrt(), expected.sqrt(), atol=0.02)


def test_a_narrow_line_has_the_thermal_profile():
    ppv, maps = project(cloud(), "z")
    assert_allclose(maps[1:], 0, atol=1e-5)
    line = ppv[:, 10, 10] / ppv[:, 10, 10].sum()
    # a Gaussian of 0.054 km/s at an edge between channels has half of its area on either side,
    # and 0.0103 beyond 0.125 km/s = 2.3148 sigma
    assert_allclose(line[46:50], [0.0103, 0.4897, 0.4897, 0.0103], atol=5e-3)


def test_the_dispersion_of_rotation_seen_edge_on_and_pole_on():
    each = point_mass(rotation=1.0, axis=(0.0, 0.0, 1.0))
    assert_allclose(project_maps(each, "z")[2], 0, atol=1e-3)
    maps = project_maps(each, "x").numpy()  # rows are z, columns y
    # through (y, z) the velocity along x is -0.131163 y / r^1.5, at 64 cells of the same mass
    y, z = AXIS[40], AXIS[35]
    r = np.sqrt(AXIS**2 + y**2 + z**2)
    v = -0.131163 * y / r**1.5
    assert_allclose(maps[1, 35, 40], v.mean(), rtol=1e-4)
    within = np.gradient(v) ** 2 / 12
    assert_allclose(maps[2, 35, 40], np.sqrt(v.var() + within.mean()), rtol=1e-3)
    assert_allclose(maps[1, :, ::-1], -maps[1], atol=1e-5)


def test_infall_is_symmetric_about_the_velocity_of_the_star():
    ppv, maps = project(point_mass(infall=0.7, infall_radius=0.2), "y")
    assert_allclose(maps[1], 0, atol=1e-5)
    assert_allclose(ppv.flip(0), ppv, rtol=1e-3, atol=1e-4)
    assert_allclose(ppv.flip(1, 2), ppv, rtol=1e-3, atol=1e-4)


def test_a_mirrored_cloud_gives_a_mirrored_line(random_clouds):
    each = random_clouds[2]
    mirrored = replace(each, velocity=-each.velocity)
    ppv, maps = project(each, "x")
    seen = project(mirrored, "x")
    # a velocity halfway between two fine channels may be shared among either's neighbors
    assert_allclose(seen.ppv.sum((1, 2)), ppv.flip(0).sum((1, 2)), rtol=1e-3, atol=1e-2)
    assert ((seen.ppv - ppv.flip(0)).abs() > 2e-3).double().mean() < 1e-4
    assert_allclose(seen.maps[1], -maps[1], atol=1e-5)
    assert_allclose(seen.maps[2], maps[2], rtol=1e-4, atol=1e-4)


def test_unresolved_motion_widens_lines_and_keeps_their_sum():
    narrow, wide = (point_mass(unresolved=f, infall_radius=0.3) for f in (0.0, 0.4))
    # at (0.5, 0.5) cells the dispersion of each cell is 0.4 * 0.131163 / sqrt(r)
    r = np.sqrt(AXIS**2 + 2 * AXIS[32] ** 2)
    cells = 0.4 * 0.131163 / np.sqrt(r) * np.exp(-((r / 0.3) ** 4))
    maps = project_maps(wide, "z")
    assert_allclose(maps[2, 32, 32], np.sqrt((cells**2).mean()), rtol=1e-3)
    lines = [project(each, "z").ppv for each in (narrow, wide)]
    assert_allclose(lines[0].sum(0), lines[1].sum(0), rtol=1e-4)


def test_layers_add_their_column_at_their_velocity():
    layers = (Layer(0.5, velocity=2.0, dispersion=0.3, scatter=0.5, coherence=0.4), Layer(0.25))
    rng = np.random.default_rng(1)
    ppv, maps = project(cloud(), "z", layers=layers, rng=rng)
    alone = project(cloud(), "z")
    column = 10.0 ** (maps[0] - 22)
    assert_allclose(column.mean(), 1.75 * 10.0 ** (alone.maps[0] - 22).mean(), rtol=1e-3)
    assert_allclose(ppv.sum(0) * 0.125, column, rtol=1e-3)
    added = (ppv - alone.ppv)[56:].sum((1, 2))  # from 1.0625 km/s: the first layer only
    velocity = (torch.arange(56, 96) - 47.5) * 0.125
    mean = (added * velocity).sum() / added.sum()
    assert_allclose(mean, 2.0, atol=0.05)
    width = ((added * velocity**2).sum() / added.sum() - mean**2).sqrt()
    assert_allclose(width, np.hypot(0.3, 0.065), atol=0.03)
    with pytest.raises(InputError, match="rng: must be given for layers"):
        project(cloud(), "z", layers=layers)


def test_ring_spectra_are_those_of_the_package():
    # a line that is symmetric about the star's velocity: the package finds its peak there
    star = Protostar(2.0, share=0.3, core=0.02, unresolved=0.4, infall_radius=0.3)
    ppv = project(cloud(stars=(star,)), "z").ppv
    ppv = (ppv + ppv.flip(0)) / 2
    velocity = (np.arange(96) - 47.5) * 0.125 * u.km / u.s
    measured = spectra_from_arrays([ppv.numpy()], velocity, 0.0078125 * u.pc)
    expected = measured.spectra.to_value(u.K)[0, :, 1:95]
    assert_allclose(ring_spectra(ppv)[:, 1:95], expected, rtol=1e-3, atol=1e-3)


def test_clouds_are_observed_as_simulated_tiles_are(random_clouds):
    ppv = project(random_clouds[4], "z").ppv[None].numpy()
    telescope = Observation(4, 0, 0.25, 0, 0)
    seen = observe_tiles(ppv, CELL * u.pc, telescope, rows=np.array([0]), seed=0)
    assert seen.cubes.shape == (1, 48, 64, 64)
    inner = seen.cubes[0, :, 16:48, 16:48].sum() * 0.25
    assert_allclose(inner, ppv[0, :, 16:48, 16:48].sum() * 0.125, rtol=0.05)


# ---------------------------------------------------------------- recipe


def test_clouds_depend_on_seed_and_index_only():
    ranges = read_recipe()
    once, again, other = (cloud_at(ranges, 7, index) for index in (3, 3, 4))
    assert once.parameters == again.parameters
    assert_array_equal(once.density, again.density)
    assert_array_equal(once.velocity, again.velocity)
    assert once.parameters != other.parameters


def test_drawn_clouds_are_as_frequent_as_the_recipe_says():
    ranges = read_recipe()
    drawn = [ranges.draw(1, index) for index in range(1500)]
    # standard errors: at most 0.5 / sqrt(1500) = 0.013
    assert_allclose(np.mean([d.stars[0].mass == 0 for d in drawn]), 0.1, atol=0.03)
    assert_allclose(np.mean([d.ridge_share > 0 for d in drawn]), 0.5, atol=0.04)
    assert_allclose(np.mean([d.centered for d in drawn]), 0.85, atol=0.03)
    assert_allclose(np.mean([len(d.stars) - 1 for d in drawn]), 0.7, atol=0.06)
    mass = np.array([d.stars[0].mass for d in drawn if d.stars[0].mass])
    assert_allclose(np.percentile(np.log10(mass), (0, 50, 100)),
                    np.log10([0.05, 2**0.5, 40]), atol=0.12)  # fmt: skip
    assert all(0.05 <= m <= 40 for m in mass)
    assert all(sum(s.share for s in d.stars) <= 0.8 + 1e-9 for d in drawn)
    layers = [draw_layers(ranges.layers, Draws(1, index)) for index in range(1500)]
    assert_allclose(np.mean([len(each) == 3 for each in layers]), 0.5, atol=0.04)
    columns = [sum(layer.column for layer in each) for each in layers if each]
    assert min(columns) >= 0.06
    assert max(columns) <= 2.5


def test_a_cloud_without_a_star_says_so():
    assert np.isnan(cloud().star_mass)
    assert cloud(stars=(Protostar(3.0),)).star_mass == 3.0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("mass = [0.05, 40.0]", "", r"\[star\]: must give mass"),
        ("mass = [0.05, 40.0]", "mass = [nan, 40.0]", r"\[star\] mass: must be finite"),
        ("mass = [0.05, 40.0]", "mass = [40.0, 0.05]", r"mass: must be given as \[lowest, hi"),
        ("mass = [10.0, 140.0]", "mass = [0.0, 140.0]", r"\[gas\] mass: must be above zero"),
        ("starless = 0.1", "starless = 1.1", r"\[star\] starless: must not be above 1"),
        ("offset = 0.0078", "offset = -1.0", r"\[envelope\] offset: must not be negative"),
        ("[layers]", "[layer]", r"recipe: has sections density, .* and no others; got \['layer'\]"),
        ("[star]", "[star", "recipe mine.toml: must be TOML"),
    ],
)
def test_bad_recipes_are_refused(tmp_path, old, new, message):
    text = recipe._DEFAULT.read_text()
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        read_recipe(path)


def test_a_missing_recipe_is_named(tmp_path):
    with pytest.raises(InputError, match=r"recipe: file not found: '.*nowhere\.toml'"):
        read_recipe(tmp_path / "nowhere.toml")


def test_bad_clouds_are_refused():
    with pytest.raises(InputError, match="gas_mass: must be above zero: a cloud needs gas; got 0"):
        CloudParameters(gas_mass=0.0)
    with pytest.raises(InputError, match="turbulence: must be finite; got nan"):
        CloudParameters(gas_mass=1.0, turbulence=np.nan)
    with pytest.raises(InputError, match="mass: must be finite; got nan"):
        CloudParameters(gas_mass=1.0, stars=(Protostar(np.nan),))
    with pytest.raises(InputError, match="share: must not add up to more than 1"):
        CloudParameters(gas_mass=1.0, stars=(Protostar(1.0, share=0.6),) * 2)
    good = cloud()
    with pytest.raises(InputError, match="density: must not be zero everywhere"):
        Cloud(good.density * 0, good.velocity, good.unresolved, good.parameters)
    with pytest.raises(InputError, match="velocity: must be finite"):
        Cloud(good.density, good.velocity * np.nan, good.unresolved, good.parameters)
    with pytest.raises(InputError, match="axis: must be one of x, y, z; got 'w'"):
        project(good, "w")
