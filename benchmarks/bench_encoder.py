"""Features per second, as the library and a query need them."""

import time

import numpy as np

from stellarssl import Encoder


class Embedding:
    """Tiles a second at three widths and eight orientations: 24 images a tile."""

    params = ("float32", "bfloat16")
    param_names = ("dtype",)
    unit = "tiles/s"

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
