"""Draw the picture of the user guide's page on clouds: a hundred clouds.

python scripts/draw_clouds.py [--output docs/_static]
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.colors import Normalize
from PIL import Image

from stellarssl.pretrain.clouds import CloudDataset

CHANNELS = ((21.0, 24.0, "magma"), (-1.5, 1.5, "RdBu_r"), (0.1, 1.5, "viridis"))


def colored(maps):
    """Return column, velocity and dispersion beside each other, in color, at half the pixels."""
    log_n, v, sigma = maps.reshape(3, 32, 2, 32, 2).mean(axis=(2, 4))
    channels = [
        mpl.colormaps[cmap](Normalize(low, high)(channel[::-1]))[..., :3]
        for channel, (low, high, cmap) in zip((log_n, v, sigma), CHANNELS, strict=True)
    ]
    return np.pad(np.concatenate(channels, 1), ((0, 3), (0, 3), (0, 0)), constant_values=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("docs/_static"))
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    clouds = CloudDataset(300, cubes=False)
    tiles = [colored(clouds[3 * k].maps) for k in range(100)]
    rows = [np.concatenate(tiles[k : k + 10], 1) for k in range(0, 100, 10)]
    picture = np.round(255 * np.clip(np.concatenate(rows), 0, 1)).astype(np.uint8)
    picture = Image.fromarray(picture[:-3, :-3])
    picture = picture.quantize(96, dither=Image.Dither.NONE)
    picture.save(output / "clouds.png", optimize=True)


if __name__ == "__main__":
    main()
