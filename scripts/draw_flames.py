"""Draw the pictures of the user guide's page on flames.

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
    """Return column, velocity and dispersion below each other, in colour."""
    return np.concatenate(
        [
            mpl.colormaps[cmap](Normalize(low, high)(channel[::-1]))[..., :3]
            for channel, (low, high, cmap) in zip(flame, CHANNELS, strict=True)
        ]
    )


def save_mosaic(tiles, n_columns, path):
    rows = [np.concatenate(tiles[k : k + n_columns], 1) for k in range(0, len(tiles), n_columns)]
    picture = np.round(255 * np.clip(np.concatenate(rows), 0, 1)).astype(np.uint8)
    Image.fromarray(picture).quantize(200, dither=Image.Dither.NONE).save(path, optimize=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("docs/_static"))
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    for kind, n in (("moments", 24), ("affine", 12), ("fbm", 12)):
        flames = FlameDataset(n, kind=kind, size=64, n_points=50_000)
        save_mosaic([colored(flames[k]) for k in range(n)], 12, output / f"flames_{kind}.png")
    flames = FlameDataset(24, kind="rgb", size=64, n_points=40_000)
    tiles = [np.moveaxis(flames[k][:, ::-1], 0, -1) for k in range(24)]
    save_mosaic(tiles, 12, output / "flames_rgb.png")


if __name__ == "__main__":
    main()
