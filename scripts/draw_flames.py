"""Draw the pictures of the user guide's page on flames: a hundred of each kind.

python scripts/draw_flames.py [--output docs/_static]
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.colors import Normalize
from PIL import Image

from stellarssl.pretrain.fractals import FlameDataset

CHANNELS = ((20.5, 24.0, "magma"), (-1.5, 1.5, "RdBu_r"), (0.1, 1.2, "viridis"))


def colored(flame):
    """Return column, velocity and dispersion beside each other, in color."""
    channels = [
        mpl.colormaps[cmap](Normalize(low, high)(channel[::-1]))[..., :3]
        for channel, (low, high, cmap) in zip(flame, CHANNELS, strict=True)
    ]
    return np.pad(np.concatenate(channels, 1), ((0, 3), (0, 3), (0, 0)), constant_values=1)


def save_mosaic(tiles, path):
    """Write ten rows of ten."""
    rows = [np.concatenate(tiles[k : k + 10], 1) for k in range(0, 100, 10)]
    picture = np.round(255 * np.clip(np.concatenate(rows), 0, 1)).astype(np.uint8)
    picture = Image.fromarray(picture[:-3, :-3])
    picture.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("docs/_static"))
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    for kind in ("moments", "affine", "fbm"):
        flames = FlameDataset(100, kind=kind, size=32, n_points=20_000)
        save_mosaic([colored(flames[k]) for k in range(100)], output / f"flames_{kind}.png")
    flames = FlameDataset(100, kind="rgb", size=48, n_points=30_000)
    tiles = [np.moveaxis(flames[k][:, ::-1], 0, -1) for k in range(100)]
    save_mosaic([np.pad(tile, ((0, 3), (0, 3), (0, 0))) for tile in tiles],
                output / "flames_rgb.png")  # fmt: skip


if __name__ == "__main__":
    main()
