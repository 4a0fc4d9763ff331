"""Draw patch tokens of simulated clouds before and after training.

    python scripts/draw_tokens.py --simulations ../shared/data/sim [--encoder NAME_OR_PATH]

Whole boxes of 4 pc: their column, and the first three principal components of the tokens as red,
green and blue, of the network with random weights and with the trained ones. Components are those
of each network's own tokens over the shipped library, as in ``stellarssl segment``.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from astropy.io import fits
from PIL import Image

from stellarssl.encoder import Encoder
from stellarssl.library import ReferenceLibrary, token_statistics
from stellarssl.segmentation.windows import blended_components

BOXES = (0, 16, 29)  # an early, a middle and a late output, along x, y and z
TOLD = "output {output}, along {axis}"


def read_boxes(path):
    """Return maps (n, 3, 512, 512), velocities relative to their weighted mean, and their names."""
    with fits.open(path) as hdus:
        columns = ("LOG_N_HI", "V_LOS", "SIGMA_V")
        maps = np.stack([hdus[name].data[list(BOXES)] for name in columns], 1).astype(np.float32)
        rows = hdus["BOXES"].data[list(BOXES)]
        names = [TOLD.format(output=row["output"], axis=row["axis"]) for row in rows]
    for box in maps:
        box[1] -= np.average(box[1], weights=10 ** box[0].astype(float))
    return maps, names


def token_colors(maps, encoder, library):
    """Return a picture (512, 512, 3) of each map."""
    tokens = token_statistics(encoder, library.maps)
    everywhere = np.ones(maps.shape[-2:], bool)
    components = [blended_components(box, everywhere, encoder, tokens, step=20) for box in maps]
    return np.clip(np.moveaxis(components, 1, -1), 0, 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=Path, default=Path("../shared/data/sim"))
    parser.add_argument("--encoder", metavar="NAME_OR_PATH", help="the shipped one by default")
    parser.add_argument("--output", type=Path, default=Path("docs/_static/tokens_before_after.png"))
    options = parser.parse_args()
    maps, names = read_boxes(options.simulations / "s4_boxes.fits")
    library = ReferenceLibrary.default()
    trained = Encoder.from_pretrained(options.encoder)
    spec = trained.spec
    random = Encoder.random(0, spec.architecture, width=spec.width, image_size=spec.image_size,
                            patch_size=spec.patch_size, n_registers=spec.n_registers)  # fmt: skip
    pictures = [maps[:, 0], *(token_colors(maps, each, library) for each in (random, trained))]
    titles = ("log$_{10}$ N$_H$", "random weights", trained.name)
    figure, axes = plt.subplots(3, 3, figsize=(7.5, 7.7), layout="compressed")
    for column, title, images in zip(axes.T, titles, pictures, strict=True):
        column[0].set_title(title)
        for panel, image in zip(column, images, strict=True):
            panel.imshow(image[::2, ::2], origin="lower", cmap="magma", interpolation="none")
            panel.set(xticks=[], yticks=[])
    for panel, name in zip(axes[:, 0], names, strict=True):
        panel.set_ylabel(name)
    figure.savefig(options.output, dpi=110)
    picture = Image.open(options.output).convert("RGB")
    picture.quantize(256).save(options.output, optimize=True)


if __name__ == "__main__":
    main()
