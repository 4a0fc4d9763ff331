"""The chaos game, genomes and images of flames."""

import hashlib
import math

import numpy as np
import pytest
from numba import njit

from stellarssl.exceptions import InputError
from stellarssl.pretrain.fractals import (
    KINDS,
    VARIATIONS,
    Camera,
    FlameDataset,
    FlameGenome,
    FlameMap,
    Frame,
    accumulate,
    from_flam3,
    read_flam3,
    render_flame,
    to_flam3,
    write_flam3,
)
from stellarssl.pretrain.fractals import _math as own
from stellarssl.pretrain.fractals.draws import Draws
from stellarssl.pretrain.fractals.engine import POOL, new_pool
from stellarssl.pretrain.fractals.moments import fbm_image
from stellarssl.pretrain.fractals.render import render_indexed
from stellarssl.pretrain.fractals.smoothing import add_adaptive_beam, add_wide_beam

GAME_DIGEST = "56e611db3da5b0f687aedac84a860d702d38ef18b58b6afd6115988cda985682"


def sierpinski(**kwargs):
    corners = ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5))
    return FlameGenome(
        tuple(
            FlameMap((0.5, 0.0, x, 0.0, 0.5, y), color=k / 2) for k, (x, y) in enumerate(corners)
        ),
        **kwargs,
    )


@njit
def _tabulate(x, y):
    out = np.empty((8, x.size))
    for i in range(x.size):
        out[0, i] = own.sin(x[i])
        out[1, i] = own.cos(x[i])
        out[2, i] = own.atan2(y[i], x[i])
        out[3, i] = own.exp(x[i])
        out[4, i] = own.log(abs(x[i]))
        out[5, i] = own.power(abs(x[i]), y[i])
        out[6, i] = own.floor(x[i])
        out[7, i] = own.trunc(x[i])
    return out


class TestMath:
    def test_equals_numpys(self):
        rng = np.random.default_rng(0)
        x, y = rng.normal(0, 8, 20_000), rng.normal(0, 8, 20_000)
        found = _tabulate(x, y)
        np.testing.assert_allclose(found[0], np.sin(x), atol=1e-12)
        np.testing.assert_allclose(found[1], np.cos(x), atol=1e-12)
        np.testing.assert_allclose(found[2], np.arctan2(y, x), atol=3e-12)
        np.testing.assert_allclose(found[3], np.exp(x), rtol=2e-12)
        np.testing.assert_allclose(found[4], np.log(abs(x)), atol=1e-12)
        np.testing.assert_allclose(found[5], abs(x) ** y, rtol=1e-10)
        np.testing.assert_array_equal(found[6], np.floor(x))
        np.testing.assert_array_equal(found[7], np.trunc(x))

    def test_the_angle_of_the_axes(self):
        x, y = np.array([0.0, 1.0, 0.0, -1.0, 0.0]), np.array([0.0, 0.0, 1.0, 0.0, -1.0])
        expected = [0.0, 0.0, math.pi / 2, math.pi, -math.pi / 2]
        np.testing.assert_allclose(_tabulate(x, y)[2], expected, atol=1e-15)

    @pytest.mark.parametrize("x", [1e300, -1e300, 1e18, 1e6])
    def test_large_arguments_stay_finite(self, x):
        assert abs(own.sin(x)) <= 1 + 1e-12
        assert abs(own.cos(x)) <= 1 + 1e-12
        assert math.isfinite(own.exp(x))
        assert math.isfinite(own.log(-x))


class TestGame:
    def test_measure_of_the_sierpinski_triangle(self):
        """At level k each of 3^k triangles holds a share 3^-k, and nothing lies between them."""
        n = 300_000
        counts = accumulate(sierpinski(), Frame(0.0, 0.0, 8.0), size=8, n_points=n)[0]
        rows, columns = np.indices((8, 8))
        inside = (rows & columns) == 0
        assert inside.sum() == 27
        # points on the last row and column of a triangle lie in the next pixel: corners only
        assert counts[~inside].sum() < 0.001 * n
        expected = n / 27
        assert abs(counts[inside] - expected).max() < 6 * math.sqrt(expected)

    def test_probabilities(self):
        maps = tuple(
            FlameMap((0.0, 0.0, x, 0.0, 0.0, 0.5), weight=weight)
            for x, weight in ((0.5, 1.0), (1.5, 2.0), (2.5, 5.0))
        )
        counts = accumulate(FlameGenome(maps), Frame(0.0, 0.0, 1.0), size=3, n_points=80_000)[0]
        np.testing.assert_allclose(counts[0] / 80_000, [1 / 8, 2 / 8, 5 / 8], atol=0.002)

    def test_paths_are_fair_two_steps_back(self):
        """Every ordered pair of maps is as probable as the product of both."""
        weights = np.array([1.0, 2.0, 3.0])
        maps = tuple(
            FlameMap((1 / 3, 0.0, k / 3, 0.0, 0.0, 0.5), weight=w) for k, w in enumerate(weights)
        )
        counts = accumulate(FlameGenome(maps), Frame(0.0, 0.0, 9.0), size=9, n_points=400_000)[0]
        p = weights / weights.sum()
        np.testing.assert_allclose(counts[4] / 400_000, np.outer(p, p).ravel(), atol=0.004)

    def test_color_converges_to_its_mean_and_variance(self):
        """With c' = (c + h) / 2: mean that of h, variance a third of h's."""
        n, c, c2 = accumulate(sierpinski(), Frame(-1.0, -1.0, 1.0), size=4, n_points=300_000).sum(
            (1, 2)
        )
        assert n == 300_000
        assert c / n == pytest.approx(0.5, abs=0.003)
        assert c2 / n - (c / n) ** 2 == pytest.approx(1 / 6 / 3, rel=0.02)

    @pytest.mark.parametrize(
        ("name", "variance"), [("square", 1 / 12), ("gaussian_blur", 1 / 6), ("blur", 1 / 6)]
    )
    def test_random_numbers(self, name, variance):
        """Blur: r uniform in [0, 1), <r^2> / 2; Gaussian: r of variance 4 / 12, halved."""
        genome = FlameGenome((FlameMap(variations=((name, 1.0, ()),)),))
        counts = accumulate(genome, Frame(-4.0, -4.0, 16.0), size=128, n_points=200_000)[0]
        x = (np.arange(128) + 0.5) / 16 - 4
        assert counts.sum() == 200_000
        for axis in (0, 1):
            share = counts.sum(axis) / counts.sum()
            assert (share * x).sum() == pytest.approx(0, abs=0.005)
            assert (share * x**2).sum() == pytest.approx(variance, rel=0.03)

    def test_final_map_moves_only_what_is_drawn(self):
        final = FlameMap((1.0, 0.0, 2.0, 0.0, 1.0, 0.0), color_speed=0.0)
        plain = accumulate(sierpinski(), Frame(0.0, 0.0, 8.0), size=8, n_points=50_000)
        moved = accumulate(sierpinski(final=final), Frame(2.0, 0.0, 8.0), size=8, n_points=50_000)
        np.testing.assert_allclose(moved, plain)

    def test_post_transform(self):
        post = FlameGenome(
            (FlameMap((0.0, 0.0, 1.0, 0.0, 0.0, 2.0), post=(2.0, 1.0, 0.5, 0.0, -1.0, 3.0)),)
        )
        counts = accumulate(post, Frame(0.0, 0.0, 2.0), size=16, n_points=2000)[0]
        assert counts[2, 9] == 2000  # (1, 2) goes to (4.5, 1)

    def test_same_bits_on_every_machine(self):
        """Counts are whole: a last bit that differs anywhere in the game changes them."""
        counts = accumulate(
            FlameGenome.random(0, 3), Frame(-2.0, -2.0, 8.0), size=32, n_points=50_000
        )[0]
        digest = hashlib.sha256(counts.astype("<i4").tobytes()).hexdigest()
        assert digest == GAME_DIGEST

    def test_a_pool_is_uniform_and_its_generators_differ(self):
        points, lanes = new_pool(1)
        assert points.shape == (3, POOL)
        assert len(np.unique(lanes)) == lanes.size
        assert abs(points[:2].mean()) < 0.05
        assert points[:2].std() == pytest.approx(2 / math.sqrt(12), rel=0.05)


class TestGenome:
    def test_random_is_fixed_by_its_key(self):
        assert FlameGenome.random(1, 2) == FlameGenome.random(1, 2)
        assert (
            len({FlameGenome.random(s, i, a) for s in (0, 1) for i in (0, 1) for a in (0, 1)}) == 8
        )

    def test_random_ones_use_all_that_there_is(self):
        genomes = [FlameGenome.random(0, k) for k in range(300)]
        assert {len(g.maps) for g in genomes} == set(range(2, 9))
        used = {name for g in genomes for m in g.maps for name, _, _ in m.variations}
        assert used == set(VARIATIONS)
        assert len(VARIATIONS) >= 40
        assert 0.08 < np.mean([g.final is not None for g in genomes]) < 0.25

    def test_affine_ones_contract(self):
        for k in range(50):
            for m in FlameGenome.random_affine(0, k).maps:
                a, b, _, d, e, _ = m.affine
                assert np.linalg.svd([[a, b], [d, e]])[1][0] < 0.951

    def test_saved_and_loaded(self, tmp_path):
        genome = FlameGenome.random(0, 5)
        path = tmp_path / "flame.json"
        assert genome.save(str(path)) == path
        assert FlameGenome.load(path) == genome

    @pytest.mark.parametrize(
        "text", ["", "{}", "[1]", '{"maps": [{"affine": [1, 2]}]}', '{"maps": 3}']
    )
    def test_other_json_is_refused(self, text):
        with pytest.raises(InputError, match="must be"):
            FlameGenome.from_json(text)

    def test_mutation_changes_one_map(self):
        genome = FlameGenome.random(0, 5)
        for seed in range(20):
            child = genome.mutate(seed)
            assert sum(a != b for a, b in zip(genome.maps, child.maps, strict=True)) == 1
            assert child == genome.mutate(seed)
        with pytest.raises(InputError, match="strength: must be above zero"):
            genome.mutate(0, strength=0)

    def test_interpolation(self):
        first, second = FlameGenome.random(0, 5), sierpinski()
        second = FlameGenome(second.maps, first.maps[0])
        start, middle = first.interpolate(second, 0.0), first.interpolate(second, 0.5)
        assert [m.affine for m in start.maps] == [m.affine for m in first.maps]
        np.testing.assert_allclose(
            middle.maps[0].affine, np.mean([first.maps[0].affine, second.maps[0].affine], axis=0)
        )
        assert len(middle.maps) == max(len(first.maps), 3)
        assert dict(v[:2] for v in first.interpolate(second, 1.0).maps[0].variations)["linear"] == 1
        with pytest.raises(InputError, match="t: must be between 0 and 1"):
            first.interpolate(second, 1.5)

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            ({"affine": (1, 2)}, "affine: must be 6 finite numbers"),
            ({"affine": (1, 2, 3, 4, 5, math.nan)}, "affine: must be 6 finite numbers"),
            ({"affine": "abcdef"}, "affine: must be 6 numbers"),
            ({"variations": (("lineal", 1.0, ()),)}, "must be among the known ones; got 'lineal'"),
            ({"variations": (("pdj", 1.0, (1,) * 5),)}, "must have at most 4 parameters"),
            ({"weight": -1}, "weight: must not be negative"),
        ],
    )
    def test_bad_maps_are_refused(self, change, match):
        with pytest.raises(InputError, match=match):
            FlameMap(**change)

    def test_a_genome_needs_a_map(self):
        with pytest.raises(InputError, match="maps: must hold a map whose weight is above zero"):
            FlameGenome((FlameMap(weight=0),))


class TestXML:
    def test_round_trip(self, tmp_path):
        genomes = [FlameGenome.random(0, k) for k in range(20)]
        write_flam3(genomes, tmp_path / "a.flame")
        back = read_flam3(tmp_path / "a.flame")
        for genome, other in zip(genomes, back, strict=True):
            assert other.maps == genome.maps
            assert (other.final is None) == (genome.final is None)

    def test_coefficients_are_columns(self):
        (genome,) = from_flam3(
            '<flame><xform weight="2" color="1" symmetry="0.5" linear="1" '
            'coefs="1 4 2 5 3 6"/></flame>'
        )
        assert genome.maps[0] == FlameMap(
            (1.0, 2.0, 3.0, 4.0, 5.0, 6.0), weight=2.0, color=1.0, color_speed=0.25
        )

    def test_palette_of_digits(self):
        digits = "".join(f"{k:02X}00FF" for k in range(256))
        (genome,) = from_flam3(
            '<flame><xform linear="1"/>'
            f'<palette count="256" format="RGB">{digits}</palette></flame>'
        )
        assert genome.palette[51] == pytest.approx((0.2, 0.0, 1.0))

    def test_entity_bomb(self):
        bomb = '<!DOCTYPE flame [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><flame name="&b;"/>'
        with pytest.raises(InputError, match="must not declare a document type or entities"):
            from_flam3(bomb)

    @pytest.mark.parametrize(
        ("xml", "match"),
        [
            ("<flame", "must be flam3's XML"),
            ("<html/>", "must hold a <flame> element"),
            ('<flame><xform hypertile3D="1"/></flame>', "not hypertile3D"),
            ('<flame><xform linear="1" chaos="1 0"/></flame>', "xaos is not known"),
            ('<flame><xform linear="1" opacity="0.5"/></flame>', "opacity: must be 1"),
            ('<flame><xform linear="x"/></flame>', "linear: must be 1 numbers"),
            ('<flame rotate="30"><xform linear="1"/></flame>', "rotate: must be 0"),
            ('<flame><xform linear="1"/><palette>XY</palette></flame>', "must be hexadecimal"),
            ("<flame/>", "must hold a map"),
        ],
    )
    def test_what_is_refused(self, xml, match):
        with pytest.raises(InputError, match=match):
            from_flam3(xml)

    def test_names_are_quoted(self):
        genome = sierpinski(name='<&">')
        assert from_flam3(to_flam3([genome]))[0].name == '<&">'


class TestBeams:
    def test_nothing_is_lost(self):
        planes = np.random.default_rng(0).poisson(2.0, (3, 40, 40)).astype(float)
        for beam, sigma in ((add_adaptive_beam, 1.3), (add_wide_beam, 6.0)):
            out = np.zeros_like(planes)
            beam(planes, sigma, 0.5, out)
            np.testing.assert_allclose(out.sum((1, 2)), 0.5 * planes.sum((1, 2)), rtol=1e-9)

    def test_widths(self):
        """A bright pixel keeps the beam, a lone point gets four times its width."""
        y, x = np.indices((101, 101)) - 50
        for count, sigma in ((1000.0, 2.0), (0.01, 8.0)):
            planes, out = np.zeros((1, 101, 101)), np.zeros((1, 101, 101))
            planes[0, 50, 50] = count
            add_adaptive_beam(planes, 2.0, 1.0, out)
            assert (out[0] * x**2).sum() / count == pytest.approx(sigma**2, rel=0.05)
        planes, out = np.zeros((1, 101, 101)), np.zeros((1, 101, 101))
        planes[0, 50, 50] = 1.0
        add_wide_beam(planes, 7.0, 1.0, out)
        for axis in (x, y):
            assert math.sqrt((out[0] * axis**2).sum()) == pytest.approx(7.0, rel=0.1)


class TestImages:
    @pytest.mark.parametrize("kind", ["moments", "affine", "fbm"])
    def test_ranges(self, kind):
        flames = np.stack(
            [FlameDataset(12, kind=kind, size=48, n_points=30_000)[k] for k in range(12)]
        )
        assert flames.dtype == np.float32
        assert np.isfinite(flames).all()
        low, high = flames.min((0, 2, 3)), flames.max((0, 2, 3))
        assert (low >= np.float32([20.4, -3.0, 0.1])).all()
        assert (high <= np.float32([24.5, 3.0, 2.8])).all()
        spread = flames[:, 0].std((1, 2))
        assert 0.2 < np.median(spread) < 0.8

    def test_velocity_and_dispersion_are_moments_of_the_color(self):
        """Two overlapping streams of color 0 and 1: dispersion high where both are, v between."""
        streams = tuple(
            FlameMap(
                (0.0, 0.0, x, 0.0, 0.0, 0.0), (("gaussian_blur", 0.6, ()), ("linear", 1.0, ())),
                color=c, color_speed=1.0,
            )
            for x, c in ((-0.5, 0.0), (0.5, 1.0))
        )  # fmt: skip
        genome = FlameGenome(streams, camera=Camera((64, 64), (0.0, 0.0), 24.0))
        image = render_flame(genome, size=64, frame="camera", n_points=200_000)
        _, v, sigma = image.maps[:, 32]
        assert image.valid[32].all()
        assert v[12] < v[32] < v[52] or v[12] > v[32] > v[52]
        assert sigma[32] > 1.5 * sigma[8]
        # in the middle both streams are equal: v half-way, sigma half their difference
        assert sigma[32] == pytest.approx(abs(v[56] - v[8]) / 2, rel=0.15)

    def test_undetected_pixels_are_filled(self):
        for k in range(20):
            image, _ = render_indexed(k, kind="moments", size=48, n_points=30_000, seed=0)
            column, v, sigma = image.maps
            if not image.valid.all():
                break
        assert len(np.unique(column[~image.valid])) == 1
        assert column[~image.valid][0] == column[image.valid].min()
        assert (v[~image.valid] == 0).all()
        assert len(np.unique(sigma[~image.valid])) == 1
        assert image.valid.mean() >= 0.6

    def test_colors(self):
        image, rejected = render_indexed(0, kind="rgb", size=48, n_points=30_000, seed=0)
        assert image.maps.shape == (3, 48, 48)
        assert image.maps.min() >= 0
        assert image.maps.max() <= 1
        assert image.valid.mean() >= 0.8
        assert sum(rejected.values()) < 200

    def test_supersampling_and_adaptive_beam(self):
        """Both leave a smooth flame as it is and take the grain off its faint outskirts."""
        genome = FlameGenome(
            (FlameMap(variations=(("gaussian_blur", 0.5, ()),)),),
            camera=Camera((32, 32), (0.0, 0.0), 40.0),
            palette=((1.0, 0.0, 0.5), (1.0, 0.0, 0.5)),
        )
        options = {"kind": "rgb", "size": 32, "n_points": 30_000, "frame": "camera"}
        plain = render_flame(genome, **options).maps
        fine = render_flame(genome, supersampling=2, adaptive=True, **options).maps
        assert fine.shape == plain.shape
        assert np.corrcoef(plain[0].ravel(), fine[0].ravel())[0, 1] > 0.95
        for maps in (plain, fine):
            assert (maps[1] == 0).all()
            np.testing.assert_allclose(maps[2], 0.5 * maps[0], atol=1e-6)
        y, x = np.indices((32, 32)) - 15.5
        ring = abs(np.hypot(x, y) - 8) < 0.7
        assert fine[0][ring].std() < plain[0][ring].std()

    def test_noise_has_its_power_law(self):
        slopes = []
        for k in range(12):
            maps = fbm_image(Draws(0, k), size=64).maps
            window = np.outer(np.hanning(64), np.hanning(64))
            power = abs(np.fft.fft2((maps[0] - maps[0].mean()) * window)) ** 2
            wave = 64 * np.hypot(np.fft.fftfreq(64)[:, None], np.fft.fftfreq(64))
            bins = [(3, 5), (5, 8), (8, 12), (12, 18)]
            levels = [power[(wave >= a) & (wave < b)].mean() for a, b in bins]
            slopes.append(np.polyfit(np.log([np.mean(b) for b in bins]), np.log(levels), 1)[0])
        assert min(slopes) > -5.0
        assert max(slopes) < -2.2

    def test_hopeless_flames_are_refused(self):
        point = FlameGenome((FlameMap((0.5, 0.0, 0.0, 0.0, 0.5, 0.0)),))
        with pytest.raises(InputError, match=r"genome: makes no image: .*a single pixel"):
            render_flame(point, size=32, n_points=5000)
        away = FlameGenome((FlameMap((3.0, 0.0, 1.0, 0.0, 3.0, 1.0)),))
        with pytest.raises(InputError, match=r"genome: makes no image: .* to infinity"):
            render_flame(away, size=32, n_points=5000)

    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({"kind": "jpeg"}, "kind: must be one of moments, rgb, affine, fbm"),
            ({"size": 8}, "size: must be a whole number of at least 16"),
            ({"n_points": 10}, "n_points: must be a whole number of at least 1000"),
        ],
    )
    def test_bad_options(self, options, match):
        with pytest.raises(InputError, match=match):
            FlameDataset(3, **options)

    def test_what_render_flame_refuses(self):
        with pytest.raises(InputError, match="kind: must be 'moments' or 'rgb'"):
            render_flame(sierpinski(), kind="fbm")
        with pytest.raises(InputError, match="frame: must be 'auto' or 'camera'"):
            render_flame(sierpinski(), frame="wide")

    def test_defaults_of_the_kinds(self):
        assert KINDS["rgb"] == (336, 1_000_000)
        assert FlameDataset(1, kind="rgb").size == 336
        assert FlameDataset(1).n_points == 100_000
