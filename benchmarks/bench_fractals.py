"""Print nanoseconds per point beside libflam3's: one core, same genomes and points, one run.

    python benchmarks/bench_fractals.py [n_points]

Needs libflam3.so.0 (Debian: flam3-utils). flam3 renders 96 x 96 pixels with one thread, one
temporal sample and no density-adaptive filter; stellarssl counts the same number of points in the
same frame. Times are processor times, the best of three, in turn.
"""

import ctypes
import sys
import time

import numpy as np

from stellarssl.pretrain.fractals import Camera, FlameGenome, accumulate, camera_frame, to_flam3
from stellarssl.pretrain.fractals.maps import FlameMap

SIZE = 96
CAMERA = Camera((SIZE, SIZE), (0.0, 0.0), SIZE / 5)
CHEAP = ("linear", "spherical", "bubble", "eyefish", "bent")
GENOMES = {
    "linear": ({"linear": 1.0},) * 3,
    "spherical": ({"spherical": 1.0},) * 3,
    "bubble + linear": ({"bubble": 0.7, "linear": 0.4}, {"linear": 0.8}),
    "eyefish, bent": ({"eyefish": 0.8}, {"bent": 0.9}, {"linear": 0.7}),
    "sinusoidal + spherical": ({"sinusoidal": 0.5, "spherical": 0.5},) * 3,
    "swirl, handkerchief": ({"swirl": 0.7}, {"handkerchief": 0.6}, {"linear": 0.8}),
    "julia": ({"julia": 1.0},) * 2,
    "heart, disc, polar": ({"heart": 0.7}, {"disc": 0.9}, {"polar": 0.8}),
    "julian, gaussian_blur": ({"julian": 0.9}, {"gaussian_blur": 0.5}, {"linear": 0.7}),
    "popcorn, exponential, waves": ({"popcorn": 0.8}, {"exponential": 0.7}, {"waves": 0.8}),
}


class _Frame(ctypes.Structure):
    _fields_ = (
        ("pixel_aspect_ratio", ctypes.c_double),
        ("genomes", ctypes.c_void_p),
        ("ngenomes", ctypes.c_int),
        ("verbose", ctypes.c_int),
        ("bits", ctypes.c_int),
        ("bytes_per_channel", ctypes.c_int),
        ("earlyclip", ctypes.c_int),
        ("time", ctypes.c_double),
        ("progress", ctypes.c_void_p),
        ("progress_parameter", ctypes.c_void_p),
        ("random", ctypes.c_ulong * 36),
        ("nthreads", ctypes.c_int),
        ("sub_batch_size", ctypes.c_int),
    )


class _Stats(ctypes.Structure):
    _fields_ = (
        ("badvals", ctypes.c_double),
        ("num_iters", ctypes.c_long),
        ("seconds", ctypes.c_int),
    )


def make_genome(maps, seed):
    rng = np.random.default_rng(seed)
    flame_maps = []
    for k, variations in enumerate(maps):
        angle, size = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 0.9)
        c, s = size * np.cos(angle), size * np.sin(angle)
        affine = (c, -s, rng.normal(0, 0.5), s, c, rng.normal(0, 0.5))
        own = {"julian": (3.0, 1.0)}
        entries = tuple((name, weight, own.get(name, ())) for name, weight in variations.items())
        flame_maps.append(FlameMap(affine, entries, color=k / 2))
    return FlameGenome(tuple(flame_maps), camera=CAMERA)


def flam3_render(library, genome, n_points):
    quality = n_points / SIZE**2
    xml = to_flam3([genome]).replace(
        "<flame ",
        f'<flame quality="{quality}" passes="1" temporal_samples="1" estimator_radius="0" '
        'supersample="1" filter="0.5" ',
    )
    text = ctypes.create_string_buffer(xml.encode())
    count = ctypes.c_int()
    parsed = library.flam3_parse_xml2(text, b"bench", 1, ctypes.byref(count))
    frame, stats = _Frame(), _Stats()
    library.flam3_init_frame(ctypes.byref(frame))
    frame.genomes, frame.ngenomes, frame.pixel_aspect_ratio = parsed, 1, 1.0
    frame.bits, frame.bytes_per_channel, frame.nthreads = 33, 1, 1
    frame.sub_batch_size = 10000
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    start = time.process_time()
    out = ctypes.c_void_p(image.ctypes.data)
    library.flam3_render(ctypes.byref(frame), out, 0, 3, 0, ctypes.byref(stats))
    return (time.process_time() - start) / max(stats.num_iters, 1), image


def our_render(genome, n_points):
    start = time.process_time()
    sums = accumulate(genome, camera_frame(genome, SIZE), size=SIZE, n_points=n_points)
    return (time.process_time() - start) / n_points, sums


def load_flam3():
    library = ctypes.CDLL("libflam3.so.0")
    library.flam3_parse_xml2.restype = ctypes.c_void_p
    return library


def main():
    n_points = int(float(sys.argv[1])) if len(sys.argv) > 1 else 4_000_000
    library, ratios = load_flam3(), []
    sys.stdout.write(f"{'genome':30s} flam3 ns  ours ns  ratio\n")
    for k, (name, maps) in enumerate(GENOMES.items()):
        genome = make_genome(maps, 100 + k)
        our_render(genome, 10_000)
        pairs = [
            (flam3_render(library, genome, n_points)[0], our_render(genome, n_points)[0])
            for _ in range(3)
        ]
        theirs, ours = (1e9 * min(column) for column in zip(*pairs, strict=True))
        ratios.append(theirs / ours)
        sys.stdout.write(f"{name:30s} {theirs:8.1f} {ours:8.1f} {ratios[-1]:6.1f}\n")
    sys.stdout.write(f"median ratio {np.median(ratios):.1f}, least {min(ratios):.1f}\n")


if __name__ == "__main__":
    main()
