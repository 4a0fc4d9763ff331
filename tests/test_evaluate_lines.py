"""Scores of masses on whole lines of sight: hand-worked tables, and a small run from end to end."""

import numpy as np
import pytest
from astropy.table import Table, vstack
from numpy.testing import assert_allclose

from stellarssl.evaluate import margins, score_predictions, simulation_predictions, write_scores
from stellarssl.evaluate.lines import DYNAMICAL, MEAN, OURS, RINGS
from stellarssl.exceptions import InputError, OutputExistsError
from stellarssl.library import PPVTiles


def made_up(method, error, prior="library"):
    """Two simulations of two stars each with true log masses 0 and 0.5, off by ``error``."""
    part = Table()
    part["sim"] = ["a", "a", "b", "b"]
    part["group"] = ["a1", "a2", "b1", "b2"]
    part["clump"] = part["group"]
    part["method"], part["prior"] = method, prior
    part["log_mass"] = [0.0, 0.5, 0.0, 0.5]
    part["predicted"] = part["log_mass"] + error
    for name, width in (("lower", -0.2), ("upper", 0.2), ("lower_95", -0.4), ("upper_95", 0.4)):
        part[name] = part["predicted"] + width
    part["uncapped"] = part["predicted"]
    part["beam"], part["snr"] = 3.0, 10.0
    return part


def test_scores_by_hand():
    scores = score_predictions(made_up(OURS, np.array([0.1, 0.1, -0.3, 0.1])))
    assert len(scores) == 1
    row = scores[0]
    # variance 0.0625; mean square error 0.01 in a, 0.05 in b
    assert_allclose(row["r2_tiles"], np.mean([1 - 0.01 / 0.0625, 1 - 0.05 / 0.0625]))
    assert_allclose(row["r2_stars"], row["r2_tiles"])
    assert_allclose(row["rms_below_8"].value, np.mean([0.1, np.sqrt(0.05)]))
    assert_allclose([row["coverage_68"], row["lowest_68"]], [0.75, 0.5])
    assert_allclose([row["coverage_95"], row["lowest_95"]], [1, 1])
    assert_allclose(row["width_68"].value, 0.4)
    assert_allclose(row["bias_1_2"].value, -0.1)  # 1 Msun in both simulations
    assert_allclose(row["bias_2_4"].value, 0.1)  # 3.2 Msun
    assert np.isnan(row["bias_4_8"].value)


def test_labels_above_8_msun_count_as_8_but_for_all_masses():
    part = made_up(OURS, 0.0)
    part["log_mass"][1] = part["uncapped"][1] = 2.0
    part["predicted"][1] = np.log10(8)
    (row,) = score_predictions(part)
    assert_allclose([row["r2_stars"], row["r2_tiles"]], [1, 1])


def test_margins_are_paired():
    both = vstack([made_up(OURS, 0.0), made_up(MEAN, np.array([0.25, -0.25, 0.25, -0.25]))])
    (row,) = margins(both)
    assert (row["over"], row["margin"]) == (MEAN, 1.0)


def test_a_small_library_from_end_to_end(tmp_path):
    every = PPVTiles.default()
    tiles = every.exclude(sim=["s4", "s6"])
    stars = np.flatnonzero(np.asarray(tiles.table["has_star"]))
    tiles = tiles.select(stars[::6])
    predictions = simulation_predictions(tiles, settings=[(6.0, 10.0)])
    assert set(predictions["method"]) == {OURS, RINGS, DYNAMICAL, MEAN}
    assert len(predictions) == 5 * len(tiles)  # ours with two priors
    paths = write_scores(predictions, tmp_path)
    assert [path.name for path in paths] == ["predictions.ecsv", "scores.ecsv", "margins.ecsv"]
    scores = Table.read(tmp_path / "scores.ecsv")
    mean = scores[scores["method"] == MEAN]
    assert mean["r2_stars"][0] <= 0
    with pytest.raises(OutputExistsError, match="exists and is not replaced"):
        write_scores(predictions, tmp_path)


def test_two_simulations_are_too_few():
    tiles = PPVTiles.default().exclude(sim=["s4", "s5", "s6"])
    with pytest.raises(InputError, match="tiles: must hold stars of three simulations"):
        simulation_predictions(tiles)
