"""Say what training has brought: masses from trained and untrained features, block by block.

R2 of log mass, pooled over the rows left out by star and by simulation, under the shipped reader or
one that is told the masses while it chooses its directions (``--reader``).
The margin over the mean of untrained encoders is paired, and its 95 % interval is bootstrapped over
stars.
"""

import argparse

import astropy.units as u
import numpy as np
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stellarssl import Encoder, ReferenceLibrary
from stellarssl.encoder import block_names
from stellarssl.evaluate import folds, left_out_predictions
from stellarssl.masses import MassEstimator
from stellarssl.observe import Observation, observe_maps

SPLITS = ("star", "simulation")
BLOCKS = ("cls", "mean", "centre")
READERS = {
    "shipped": lambda widths: MassEstimator(block_widths=widths),
    "ridge": lambda _: make_pipeline(StandardScaler(), RidgeCV(np.logspace(0, 5, 11))),
    "trees": lambda _: ExtraTreesRegressor(
        200, min_samples_leaf=3, max_features=0.3, n_jobs=-1, random_state=0
    ),
}


def seen(maps, beam):
    """Return maps as a telescope with this beam [tile pixels] and no noise would see them."""
    if not beam:
        return maps
    observation = Observation(
        beam_pixels=beam, rms=0.0, channel_width=0.1, sigma_line=0.054, column_limit=1e20
    )
    return observe_maps(maps, observation)[0].astype(np.float32)


def left_out(X, reader, log_mass, group, library):
    """Predict every row without its star, and without its simulation."""
    return {
        split: left_out_predictions(reader, X, log_mass, group, folds(split, library))
        for split in SPLITS
    }


def r2(log_mass, predicted, weight):
    """Return the coefficient of determination of weighted rows."""
    mean = np.average(log_mass, weights=weight)
    return 1 - np.sum(weight * (log_mass - predicted) ** 2) / np.sum(
        weight * (log_mass - mean) ** 2
    )


def row(log_mass, group, predictions, controls, n_bootstrap=1000):
    """Return R2 with its interval, the controls' mean, and the margin with its interval."""
    stars, of = np.unique(group, return_inverse=True)
    counts = np.random.default_rng(0).multinomial(
        len(stars), np.full(len(stars), 1 / len(stars)), size=n_bootstrap
    )
    weights = np.concatenate([np.ones((1, len(stars))), counts])[:, of]
    ours = np.array([r2(log_mass, predictions, w) for w in weights])
    theirs = np.array([np.mean([r2(log_mass, c, w) for c in controls]) for w in weights])
    spread = np.percentile(ours[1:], (2.5, 97.5))
    margin = np.percentile((ours - theirs)[1:], (2.5, 97.5))
    return (
        f"{ours[0]:.3f} [{spread[0]:.2f}, {spread[1]:.2f}] | {theirs[0]:.3f} |"
        f" {ours[0] - theirs[0]:+.3f} [{margin[0]:+.3f}, {margin[1]:+.3f}]"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", help="shipped name or safetensors file")
    parser.add_argument("--seeds", type=int, default=3, help="untrained encoders")
    parser.add_argument("--widths", type=float, nargs="+", default=[0.03125, 0.0625, 0.125])
    parser.add_argument("--beam", type=float, default=0.0, help="FWHM in tile pixels")
    parser.add_argument("--views", type=int, default=8, choices=(1, 2, 4, 8))
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--reader", default="shipped", choices=READERS)
    options = parser.parse_args()
    library = ReferenceLibrary.default()
    depth = np.isclose(library.table["depth"].to_value(u.pc), 0.5)
    library = library.select(np.asarray(library.table["has_star"]) & depth)
    log_mass = np.log10(library.table["mass"].to_value(u.solMass))
    group = np.asarray(library.table["group"])
    maps = seen(library.maps, options.beam)
    trained = Encoder.from_pretrained(options.encoder, dtype=options.dtype)
    controls = [
        Encoder.random(seed, n_registers=trained.spec.n_registers, dtype=options.dtype)
        for seed in range(options.seeds)
    ]
    features = [
        encoder.embed(maps, blocks=block_names(*options.widths), n_views=options.views)
        for encoder in (trained, *controls)
    ]
    print(f"{len(library)} maps, {len(np.unique(group))} stars, beam of {options.beam:g} pixels")
    print("features | split | R2 [95 %] | untrained | margin [95 %]")
    names = [(f"{block}@{width:g}",) for width in options.widths for block in BLOCKS]
    names += [tuple(f"{block}@{width:g}" for width in options.widths) for block in BLOCKS]
    for blocks in names:
        reader = READERS[options.reader]([trained.spec.width] * len(blocks))
        ours, *theirs = (
            left_out(each.select(*blocks), reader, log_mass, group, library) for each in features
        )
        for split in SPLITS:
            print(
                f"{' + '.join(blocks)} | {split} |",
                row(log_mass, group, ours[split], [each[split] for each in theirs]),
                flush=True,
            )


if __name__ == "__main__":
    main()
