"""Speed of the encoder, and how many neighbors and masses bfloat16 leaves unchanged."""

import time
from dataclasses import replace

import numpy as np

from stellarssl import Encoder, ReferenceLibrary
from stellarssl.encoder import block_names
from stellarssl.library import DEFAULT_BLOCKS, N_VIEWS
from stellarssl.masses import MassEstimator

N_TILES, REPEATS = 1000, 3


def tiles(n):
    """Return maps of random tiles."""
    rng = np.random.default_rng(0)
    maps = np.empty((n, 3, 64, 64), np.float32)
    maps[:, 0] = rng.normal(22, 1, (n, 64, 64))
    maps[:, 1] = rng.normal(0, 1, (n, 64, 64))
    maps[:, 2] = rng.gamma(2, 0.3, (n, 64, 64))
    return maps


class Embedding:
    """Features of 1,000 tiles from which masses are read: four images for each tile."""

    params = ("float32", "bfloat16")
    param_names = ("dtype",)
    timeout = 1200

    def setup(self, dtype):
        self.maps = tiles(N_TILES)
        self.encoder = Encoder.from_pretrained(dtype=dtype)
        self.encoder.embed(self.maps[:1])

    def track_seconds(self, dtype):  # noqa: ARG002
        seconds = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            self.encoder.embed(self.maps, blocks=DEFAULT_BLOCKS, n_views=N_VIEWS)
            seconds.append(time.perf_counter() - start)
        return min(seconds)

    track_seconds.unit = "s"


class Blocks:
    """Time of all blocks in eight orientations (24 images) against that of the default block."""

    timeout = 600

    def track_all_blocks_against_one(self):
        encoder, maps = Encoder.from_pretrained(), tiles(32)
        seconds = np.empty((REPEATS, 2))
        calls = ((block_names(0.125, 0.25, 0.5), 8), (DEFAULT_BLOCKS, N_VIEWS))
        for row in seconds:
            for i, (blocks, n_views) in enumerate(calls):
                start = time.perf_counter()
                encoder.embed(maps, blocks=blocks, n_views=n_views)
                row[i] = time.perf_counter() - start
        slow, fast = seconds.min(axis=0)
        return slow / fast

    track_all_blocks_against_one.unit = "times"


class Parity:
    """Tiles of the library that keep their neighbors and masses in bfloat16."""

    timeout = 1200

    def setup_cache(self):
        library = ReferenceLibrary.default()
        encoder = Encoder.from_pretrained(device="cpu", dtype="bfloat16")
        low = encoder.embed(library.maps, blocks=tuple(library.features.blocks), n_views=N_VIEWS)
        return [self.read(replace(library, features=f)) for f in (library.features, low)]

    def read(self, library):
        """Return each tile's five nearest stars and its mass, estimated from other clumps."""
        labels = (np.asarray(library.table[name]) for name in ("group", "clump"))
        log_mass = np.log10(library.table["mass"].value)
        masses = MassEstimator().fit(library.features.array, log_mass, *labels)
        index = masses._search(masses._whitened, masses.clumps_)[1]  # noqa: SLF001
        return np.sort(index[:, :5], axis=1), masses.left_out_

    def track_tiles_with_the_same_neighbors(self, results):
        (full, _), (low, _) = results
        return 100 * (full == low).all(axis=1).mean()

    track_tiles_with_the_same_neighbors.unit = "%"

    def track_tiles_with_the_same_mass(self, results):
        (_, full), (_, low) = results
        return 100 * (np.abs(full - low) < 0.01).mean()

    track_tiles_with_the_same_mass.unit = "%"
