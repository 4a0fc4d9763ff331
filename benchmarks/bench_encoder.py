"""Images per second, beside timm's network as it is, in float32, in the same run."""

import time

import numpy as np
import torch

from stellarssl import Encoder
from stellarssl.encoder._backends import BATCH, forwards

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
