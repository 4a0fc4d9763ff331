"""Scores by hand, and splits that keep a star on one side."""

from types import SimpleNamespace

import numpy as np
import pytest
from astropy.config.paths import set_temp_cache
from sklearn.neighbors import KNeighborsRegressor

from stellarssl.encoder import Scaling
from stellarssl.evaluate import (
    SPLITS,
    cross_validate,
    left_out_predictions,
    probe_encoder,
    score,
    write_evaluation,
)
from stellarssl.exceptions import InputError
from stellarssl.masses import MassEstimator


def test_scores_by_hand():
    truth = np.array([0.0, 0.0, 0.0, 1.0])
    predicted = np.array([0.0, 0.0, 0.0, 0.5])
    scores = score(truth, predicted, np.array(["a", "a", "a", "b"]))
    # residuals 0, 0, 0, 1/2; variance about the mean of 1/4 is 3/4 in all
    assert scores["r2"] == pytest.approx(1 - 0.25 / 0.75)
    assert scores["rmse"] == pytest.approx(0.25)
    # star-weighted, the mean is 1/2 and each star's squared deviation 1/4
    assert scores["r2_stars"] == pytest.approx(1 - 0.25 / 0.5)


def test_the_interval_counts_stars_not_rows():
    rng = np.random.default_rng(0)
    truth, noise = rng.normal(size=(2, 30))
    few = score(truth, truth + noise / 2, np.arange(30))
    copied = (np.repeat(values, 20) for values in (truth, truth + noise / 2, np.arange(30)))
    many = score(*copied)
    assert many["r2"] == pytest.approx(few["r2"])
    assert many["r2_upper"] - many["r2_lower"] == pytest.approx(
        few["r2_upper"] - few["r2_lower"], rel=1e-6
    )


def test_the_mean_scores_zero():
    truth = np.arange(10.0)
    assert score(truth, np.full(10, truth.mean()), np.arange(10))["r2"] == pytest.approx(0)


def test_what_is_left_out_was_not_seen():
    X = np.arange(8.0)[:, None]
    labels = np.arange(8.0)
    groups = np.repeat(np.arange(4), 2)
    folds = [(np.flatnonzero(groups != g), np.flatnonzero(groups == g)) for g in range(4)]
    nearest = left_out_predictions(KNeighborsRegressor(1), X, labels, groups, folds)
    # the nearest row outside the pair (2, 3) is 1 or 4, and so on
    np.testing.assert_array_equal(nearest, [2, 2, 1, 4, 3, 6, 5, 5])
    ours = left_out_predictions(MassEstimator(1), X, labels, groups, folds)
    np.testing.assert_allclose(ours, nearest)


@pytest.fixture(scope="module")
def table(small_library, small_encoder, tmp_path_factory):
    with set_temp_cache(tmp_path_factory.mktemp("cache")):
        return cross_validate(small_library, encoder=small_encoder, n_random=1)


def test_every_method_on_every_split(table):
    methods = list(dict.fromkeys(table["method"]))
    assert methods[0] == "mean"
    assert "scalars, extra trees" in methods
    assert "random weights, k-NN" in methods
    assert list(table["split"]) == list(SPLITS) * len(methods)
    assert set(table["n_stars"]) == {40}
    assert np.all(table["r2_lower"] <= table["r2_upper"])


def test_methods_find_what_the_library_was_given(table):
    r2 = {(row["method"], row["split"]): row["r2"] for row in table}
    # masses follow the column by construction; their mean knows nothing of the left-out rows
    assert r2["peak column", "star"] > 0.9
    assert all(r2["mean", split] <= 0 for split in SPLITS)


def test_written_whole(table, tmp_path):
    path = write_evaluation(table, tmp_path)
    assert path.read_text().count("\n") > len(table)


def test_refuses_one_simulation(small_library, small_encoder):
    with pytest.raises(InputError, match="library: must hold stars of two simulations"):
        cross_validate(small_library.exclude(sim="b"), encoder=small_encoder)


class OnlyColumn:
    """An encoder whose tokens hold the mean column of their patch and noise."""

    name, sha256 = "only-column", "0" * 64

    def __init__(self, grid=8):
        self.spec = SimpleNamespace(grid=grid, scaling=Scaling())

    def patch_tokens(self, maps, **_):
        n, grid = len(maps), self.spec.grid
        size = 64 // grid
        column = maps[:, 0].reshape(n, grid, size, grid, size).mean((2, 4))[..., None]
        noise = np.random.default_rng(0).normal(size=(n, grid, grid, 4))
        return np.concatenate((10 * (column - 22), noise), -1).astype(np.float32)


def test_the_probe_reads_what_tokens_hold(small_library):
    table = probe_encoder(OnlyColumn(), small_library)
    assert list(table["simulation"]) == ["a", "b"]
    assert table["n_tiles"].sum() == len(small_library)
    assert (table["n_h"] > 0.999).all()
    assert (table["v_los"] < 0.1).all()
    assert table.meta["encoder"] == "only-column"


def test_what_cannot_be_probed(small_library):
    one = small_library.select(np.asarray(small_library.table["sim"]) == "a")
    with pytest.raises(InputError, match=r"library: must hold two simulations or more; got \['a'"):
        probe_encoder(OnlyColumn(), one)
    with pytest.raises(InputError, match="encoder: must have patches that divide 64 pixels; got 6"):
        probe_encoder(OnlyColumn(6), small_library)
