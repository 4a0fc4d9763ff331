"""The search for neighbors, beside scikit-learn's in the same run, and the forest."""

import time

import numpy as np
from sklearn.neighbors import NearestNeighbors

from stellarssl.masses import ForestEstimator, nearest_groups

N_ROWS, N_COMPONENTS, N_QUERIES = 100_000, 10, 100_000


def _library(n_groups, spread):
    rng = np.random.default_rng(0)
    group = rng.integers(0, n_groups, N_ROWS)
    centers = rng.normal(size=(n_groups, N_COMPONENTS))
    rows = centers[group] + spread * rng.normal(size=(N_ROWS, N_COMPONENTS))
    query = centers[rng.integers(0, n_groups, N_QUERIES)]
    return rows, group, query + spread * rng.normal(size=query.shape)


def _seconds(job):
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


class Neighbors:
    """3,000 stars of 33 rows each, and 300 stars whose 333 rows are nearly alike."""

    params = (((3000, 0.3), (300, 0.1)),)
    param_names = ("stars_and_spread",)
    timeout = 600

    def setup(self, stars_and_spread):
        self.rows, self.group, self.query = _library(*stars_and_spread)
        nearest_groups(self.rows[:50], self.query[:5], self.group[:50], 10)  # compiles

    def track_seconds(self, stars_and_spread):  # noqa: ARG002
        return _seconds(lambda: nearest_groups(self.rows, self.query, self.group, 10))

    def track_times_faster_than_rows_of_scikit_learn(self, stars_and_spread):  # noqa: ARG002
        """Its 10 nearest rows, which need not be of 10 stars, by brute force, a tenth of both."""
        some = self.query[: N_QUERIES // 10]
        peer = NearestNeighbors(n_neighbors=10, algorithm="brute").fit(self.rows)
        theirs = _seconds(lambda: peer.kneighbors(some))
        return theirs / _seconds(lambda: nearest_groups(self.rows, some, self.group, 10))


Neighbors.track_seconds.unit = "s for 100,000 queries of 100,000 rows"
Neighbors.track_times_faster_than_rows_of_scikit_learn.unit = "times scikit-learn's speed"


class Forest:
    """A forest of 100 trees on 4,000 rows of 200 stars with 100 features, read as weights."""

    timeout = 600

    def setup(self):
        rng = np.random.default_rng(0)
        self.star = np.repeat(np.arange(200), 20)
        self.log_mass = rng.uniform(-1, 1, 200)[self.star]
        self.X = self.log_mass[:, None] + rng.normal(size=(4000, 100))
        self.forest = ForestEstimator(100).fit(self.X, self.log_mass, self.star)

    def track_seconds_of_fit(self):
        return _seconds(lambda: ForestEstimator(100).fit(self.X, self.log_mass, self.star))

    def track_seconds_of_prediction(self):
        return _seconds(lambda: self.forest.mean_and_spread(self.X))


Forest.track_seconds_of_fit.unit = "s for 4,000 rows"
Forest.track_seconds_of_prediction.unit = "s for 4,000 queries"
