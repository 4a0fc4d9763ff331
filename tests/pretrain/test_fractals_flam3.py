"""The variations and whole flames against libflam3, where it is installed."""

import ctypes

import numpy as np
import pytest

from stellarssl.pretrain.fractals import (
    VARIATIONS,
    Camera,
    FlameGenome,
    FlameMap,
    accumulate,
    camera_frame,
    from_flam3,
    to_flam3,
)
from stellarssl.pretrain.fractals._blocks import _compile

AFFINE = (0.9, -0.3, 0.45, 0.25, 0.8, -0.35)
WEIGHT = 0.7


class Flam3:
    """What the tests need of the library: genomes from XML, steps of the game, random numbers."""

    def __init__(self):
        self.library = ctypes.CDLL("libflam3.so.0")
        for name in ("flam3_parse_xml2", "flam3_create_xform_distrib"):
            getattr(self.library, name).restype = ctypes.c_void_p
        self.library.flam3_random_isaac_01.restype = ctypes.c_double
        self.random = np.zeros(64, np.uint64)
        self.random[1:17] = np.arange(1, 17) * 0x9E3779B9 % 2**32
        self.state = ctypes.c_void_p(self.random.ctypes.data)
        self.library.irandinit(self.state, 1)
        self.kept = []

    def parse(self, xml):
        text, count = ctypes.create_string_buffer(xml.encode()), ctypes.c_int()
        self.kept.append(text)
        genome = self.library.flam3_parse_xml2(text, b"test", 1, ctypes.byref(count))
        assert genome
        assert count.value == 1
        genome = ctypes.c_void_p(genome)
        self.library.prepare_precalc_flags(genome)
        chances = ctypes.c_void_p(self.library.flam3_create_xform_distrib(genome))
        return genome, chances

    def iterate(self, flame, samples, fuse=0):
        genome, chances = flame
        pointer = ctypes.c_void_p(samples.ctypes.data)
        self.library.flam3_iterate(genome, len(samples), fuse, pointer, chances, self.state)

    def step(self, flame, x, y, n_uniforms, *, bit):
        """Return where a point goes, and the random numbers that were drawn on the way."""
        sample, before = np.array([[x, y, 0.5, 0.0]]), self.random.copy()
        self.iterate(flame, sample)
        after = self.random.copy()
        self.random[:] = before
        self.library.flam3_random_isaac_01(self.state)  # the choice of the map
        draw = self.library.flam3_random_isaac_bit if bit else self.library.flam3_random_isaac_01
        uniforms = [draw(self.state) for _ in range(n_uniforms)]
        assert (self.random == after).all()
        return sample[0, :2], uniforms


@pytest.fixture(scope="module")
def flam3():
    try:
        return Flam3()
    except OSError:
        pytest.skip("libflam3 is not installed")


def own_step(variation, points, uniforms, parameters):
    n = len(points)
    a, b, c, d, e, f = AFFINE
    x, y = points.T
    x, y = np.ascontiguousarray(a * x + b * y + c), np.ascontiguousarray(d * x + e * y + f)
    p = np.zeros(16)
    p[:6], p[6 : 6 + len(parameters)] = AFFINE, parameters
    out = np.zeros((2, n))
    pointers = [
        array.ctypes.data_as(ctypes.POINTER(ctypes.c_double)) for array in (x, y, uniforms, p, *out)
    ]
    _compile(variation).ctypes(n, *pointers[:4], WEIGHT, *pointers[4:])
    return out.T


# Each takes a second to compile where numba's cache is cold.
FAST = {"spherical", "swirl", "julia", "pdj", "juliascope", "wedge", "whorl", "mobius", "bubble"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in FAST else pytest.mark.slow)
        for name in sorted(VARIATIONS)
    ],
)
def test_variation_equals_flam3s(flam3, name):
    variation, rng = VARIATIONS[name], np.random.default_rng(len(name))
    parameters = tuple(
        float(rng.integers(int(p.low), int(p.high) + 1)) if p.whole else rng.uniform(p.low, p.high)
        for p in variation.parameters
    )
    flame_map = FlameMap(AFFINE, ((name, WEIGHT, parameters),))
    flame = flam3.parse(to_flam3([FlameGenome((flame_map,))]))
    points = rng.uniform(-2, 2, (200, 2))
    expected, uniforms = np.empty((200, 2)), np.zeros((5, 200))
    for k, (x, y) in enumerate(points):
        expected[k], drawn = flam3.step(flame, x, y, variation.n_uniforms, bit=name == "julia")
        uniforms[: variation.n_uniforms, k] = drawn
    found = own_step(variation, points, uniforms, parameters)
    assert abs(found - expected).max() < 1e-6 * max(1.0, abs(expected).max())
    assert np.median(abs(found - expected)) < 1e-9


FLAMES = {
    "turned": [{"linear": 1.0}, {"swirl": 0.6, "linear": 0.3}, {"spherical": 0.6}],
    "julia": [{"julia": 0.9}, {"linear": 0.7, "gaussian_blur": 0.1}],
    "petals": [{"heart": 0.7}, {"disc": 0.9}, {"bubble": 0.6, "linear": 0.4}],
}


@pytest.mark.parametrize("name", FLAMES)
def test_density_is_flam3s(flam3, name):
    rng, size, n = np.random.default_rng(5), 48, 1_500_000
    maps = []
    for k, variations in enumerate(FLAMES[name]):
        c, s = rng.uniform(0.4, 0.7, 2)
        affine = (c, -s, rng.normal(0, 0.4), s, c, rng.normal(0, 0.4))
        entries = tuple((key, weight, ()) for key, weight in variations.items())
        maps.append(FlameMap(affine, entries, weight=1.0 + k, color=k / 2, color_speed=0.4))
    final = FlameMap((1.0, 0.0, 0.1, 0.0, 1.0, 0.0), (("eyefish", 0.8, ()),), color_speed=0.0)
    genome = FlameGenome(tuple(maps), final, camera=Camera((size, size), (0.0, 0.0), size / 3.2))
    samples = np.zeros((n, 4))
    samples[0] = 0.1, 0.2, 0.5, 0.0
    flam3.iterate(flam3.parse(to_flam3([genome])), samples, fuse=50)
    edges = np.linspace(-1.6, 1.6, size + 1)
    theirs = np.histogram2d(samples[:, 1], samples[:, 0], [edges, edges])[0]
    color = np.histogram2d(samples[:, 1], samples[:, 0], [edges, edges], weights=samples[:, 2])[0]
    ours = accumulate(genome, camera_frame(genome, size), size=size, n_points=n)
    assert theirs.sum() > 0.3 * n
    logs = np.log1p(ours[0]).ravel(), np.log1p(theirs).ravel()
    assert np.corrcoef(*logs)[0, 1] > 0.99
    many = (theirs > 100) & (ours[0] > 100)
    assert abs(ours[1][many] / ours[0][many] - color[many] / theirs[many]).max() < 0.15
    assert abs(ours[1].sum() / ours[0].sum() - color.sum() / theirs.sum()) < 0.01


def test_defaults_and_attributes_are_read_as_flam3_reads_them(flam3):
    """flam3 prints what it has read; from that the same genome must come back."""
    names = sorted(VARIATIONS)
    maps = tuple(
        FlameMap((0.5, 0.1, 0.2, -0.1, 0.6, 0.3), ((name, 0.5, ()),), weight=0.5, color=0.25)
        for name in names[:12]
    )
    palette = tuple((k / 255, 1 - k / 255, 0.0) for k in range(256))
    camera = Camera((64, 48), (0.25, -0.5), 20.0)
    genome = FlameGenome(maps, maps[0], "round trip", camera, palette)
    flam3.library.flam3_print_to_string.restype = ctypes.c_char_p
    parsed, _ = flam3.parse(to_flam3([genome]))
    (back,) = from_flam3(flam3.library.flam3_print_to_string(parsed).decode())
    assert back.name.replace("_", " ") == "round trip"
    assert back.camera == camera
    np.testing.assert_allclose(back.palette, palette, atol=0.003)
    for ours, theirs in zip(maps, back.maps, strict=True):
        assert theirs.affine == pytest.approx(ours.affine)
        assert (theirs.color, theirs.color_speed, theirs.weight) == (0.25, 0.5, 0.5)
        for entry, other in zip(ours.variations, theirs.variations, strict=True):
            assert other[0] == entry[0]
            assert other[2] == pytest.approx(entry[2])


@pytest.mark.parametrize("kind", [-5, -1, 2, 3])
def test_symmetry_is_expanded_as_flam3_expands_it(flam3, kind):
    xml = to_flam3([FlameGenome((FlameMap(),))]).replace(
        "</flame>", f'<symmetry kind="{kind}"/></flame>'
    )
    (ours,) = from_flam3(xml)
    samples = np.zeros((100, 4))
    samples[0] = 0.3, 0.1, 0.5, 0.0
    flam3.iterate(flam3.parse(xml), samples)
    assert len(ours.maps) == abs(kind) + (kind < 0)
    camera = Camera((16, 16), (0.0, 0.0), 4.0)
    frame = camera_frame(FlameGenome((FlameMap(),), camera=camera), 16)
    assert accumulate(ours, frame, size=16, n_points=2000)[0].sum() == 2000
    own = {(round(float(m.affine[0]), 6), round(float(m.affine[1]), 6)) for m in ours.maps}
    assert len(own) == len(ours.maps)
    images = {(0.3, 0.1)}
    for _ in range(abs(kind) + 2):
        images |= {
            (
                round(m.affine[0] * x + m.affine[1] * y, 9),
                round(m.affine[3] * x + m.affine[4] * y, 9),
            )
            for m in ours.maps
            for x, y in images
        }
    distances = np.hypot(*(samples[:, None, :2] - np.array(sorted(images))).T)
    assert distances.min(0).max() < 1e-4
    assert distances.min(1).max() < 1e-4
