"""Images per second beside timm's float32 in the same run, and what bfloat16 changes."""

import time
from dataclasses import replace

import numpy as np
import torch
from stellarssl.encoder._backends import BATCH, forwards

from stellarssl import Encoder, ReferenceLibrary
from stellarssl.library.reference import embed_blocks
from stellarssl.masses import MassModel
from stellarssl.masses._estimator import N_COMPONENTS, N_NEIGHBORS

CPU, SIZE, REPEATS = torch.device("cpu"), 64, 5


class Images:
    """How many times faster than timm, one and two threads."""

    params = (("float32", "bfloat16"), (1, 2))
    param_names = ("dtype", "threads")
    timeout = 600

    def setup(self, dtype, threads):
        self.threads = torch.get_num_threads()
        torch.set_num_threads(threads)
        model = Encoder.from_pretrained()._model  # noqa: SLF001
        self.timm = forwards(model, SIZE, CPU, "float32")["eager"]
        self.ours = list(forwards(model, SIZE, CPU, dtype).values())[-1]
        self.images = torch.randn(BATCH, 3, SIZE, SIZE)

    def teardown(self, dtype, threads):  # noqa: ARG002
        torch.set_num_threads(self.threads)

    def track_times_faster_than_timm(self, dtype, threads):  # noqa: ARG002
        seconds = np.empty((REPEATS, 2))
        with torch.inference_mode():
            for row in seconds:
                for i, forward in enumerate((self.timm, self.ours)):
                    start = time.perf_counter()
                    forward(self.images)
                    row[i] = time.perf_counter() - start
        theirs, ours = seconds.min(axis=0)
        return theirs / ours

    track_times_faster_than_timm.unit = "times timm's float32"


class Embedding:
    """Tiles a second at three widths and eight orientations: 24 images a tile."""

    params = ("float32", "bfloat16")
    param_names = ("dtype",)

    def setup(self, dtype):
        rng = np.random.default_rng(0)
        self.maps = np.stack(
            (rng.normal(22, 1, (16, 64, 64)), rng.normal(0, 1, (16, 64, 64)),
             rng.gamma(2, 0.3, (16, 64, 64))), axis=1,
        ).astype(np.float32)  # fmt: skip
        self.encoder = Encoder.random(dtype=dtype)
        self.encoder.embed(self.maps[:1])

    def track_tiles_per_second(self, dtype):  # noqa: ARG002
        start = time.perf_counter()
        self.encoder.embed(self.maps)
        return len(self.maps) / (time.perf_counter() - start)

    track_tiles_per_second.unit = "tiles/s"


class Parity:
    """What bfloat16 leaves of the library's tiles as they are: neighbors and masses."""

    timeout = 1200

    def setup_cache(self):
        library = ReferenceLibrary.default()
        encoder = Encoder.from_pretrained(device="cpu", dtype="bfloat16")
        low = embed_blocks(encoder, library.maps, library.features.blocks)
        return [self.read(replace(library, features=f)) for f in (library.features, low)]

    def read(self, library):
        """Return each tile's five nearest stars and its mass, from other clumps alone."""
        reader = MassModel.fit(
            library, n_neighbors=N_NEIGHBORS, n_components=N_COMPONENTS, statistics=True
        )
        masses = reader.masses
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
