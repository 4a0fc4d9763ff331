"""Clouds as a dataset: on the fly and from shards."""

import json
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from stellarssl.cli import main
from stellarssl.exceptions import InputError
from stellarssl.pretrain import CloudDataset, render_clouds
from stellarssl.pretrain.clouds import dataset, read_recipe
from stellarssl.pretrain.fractals import ShardError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return render_clouds(tmp_path_factory.mktemp("clouds"), 6, size=16, seed=2, shard_size=4)


def test_a_tile_depends_on_seed_and_index_only():
    forward, backward = CloudDataset(9, seed=3), CloudDataset(9, seed=3)
    tiles = [forward[i] for i in range(9)]
    for i in reversed(range(9)):
        again = backward[i]
        assert_array_equal(again.maps, tiles[i].maps)
        assert_array_equal(again.ppv, tiles[i].ppv)
        assert_array_equal(again.gas_masses, tiles[i].gas_masses)
    assert not np.array_equal(CloudDataset(9, seed=4)[0].maps, tiles[0].maps)
    assert_array_equal(backward[-1].maps, tiles[8].maps)
    with pytest.raises(IndexError, match="tile 9 of 9"):
        forward[9]


def test_three_projections_share_a_cloud():
    tiles = [CloudDataset(6, seed=3)[i] for i in range(6)]
    assert len({tile.log_mass for tile in tiles[:3]}) == 1
    assert tiles[2].log_mass != tiles[3].log_mass
    assert_array_equal(tiles[0].gas_masses, tiles[2].gas_masses)
    assert (np.diff(tiles[0].gas_masses) > 0).all()
    columns = [(10.0 ** (tile.maps[0].astype(float) - 22)).mean() for tile in tiles[:3]]
    plain = [column for column, tile in zip(columns, tiles, strict=False) if not tile.has_layers]
    assert_allclose(plain, plain[0] if plain else 0, rtol=1e-3)


def test_maps_alone_are_the_same_maps():
    with_cubes, alone = CloudDataset(3, seed=1), CloudDataset(3, seed=1, cubes=False)
    for i in range(3):
        assert_array_equal(with_cubes[i].maps, alone[i].maps)
        assert alone[i].ppv is None


def test_small_tiles_are_the_middle_of_large_ones():
    large, small = CloudDataset(1)[0], CloudDataset(1, size=16)[0]
    assert_array_equal(small.maps, large.maps[:, 24:40, 24:40])
    assert_array_equal(small.ppv, large.ppv[:, 24:40, 24:40])


@pytest.mark.parametrize("size", [128, 65, 0, 15.0])
def test_a_tile_wider_than_the_cloud_is_refused(size, tmp_path):
    message = "size: must be an even number of at most 64 pixels, the width of a cloud"
    with pytest.raises(InputError, match=message):
        CloudDataset(3, size=size)
    with pytest.raises(InputError, match=message):
        render_clouds(tmp_path, 3, size=size)


def test_bad_numbers_are_refused(tmp_path):
    with pytest.raises(InputError, match="seed: must be a whole number that is not negative; got"):
        CloudDataset(3, seed=-1)
    with pytest.raises(InputError, match="n: must be a whole number above zero; got 0"):
        CloudDataset(0)
    with pytest.raises(InputError, match="shard_size: must be a whole number above zero; got 0"):
        render_clouds(tmp_path, 3, shard_size=0)


def test_shards_hold_what_is_made_on_the_fly(folder):
    fresh = CloudDataset(6, size=16, seed=2)
    stored = CloudDataset(6, size=16, seed=2, path=folder, verify=True)
    copy = pickle.loads(pickle.dumps(stored))  # noqa: S301
    for i in range(6):
        old, new = fresh[i], stored[i]
        assert_allclose(new.maps, old.maps, atol=2e-3, rtol=1e-3)
        assert_allclose(new.ppv, np.minimum(old.ppv, 316.2), atol=3e-4, rtol=0.021)
        assert_allclose(new.log_mass, old.log_mass, rtol=1e-6)
        assert_array_equal(new.gas_masses, old.gas_masses)
        assert new.has_layers == old.has_layers
        assert_array_equal(copy[i].ppv, new.ppv)
    assert len(json.loads((folder / "manifest.json").read_text())["shards"]) == 2


def test_shards_are_extended_and_repaired(folder):
    path = folder / "clouds-00001.npy"
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(ShardError, match=r"clouds-00001\.npy is missing or damaged"):
        CloudDataset(6, size=16, seed=2, path=folder)
    render_clouds(folder, 6, size=16, seed=2, shard_size=4)
    assert path.read_bytes() == content


def test_other_clouds_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match=r"seed: must be that of the clouds in .*, 2; got 0"):
        CloudDataset(6, size=16, path=folder)
    with pytest.raises(InputError, match=r"n: must be at most the 6 tiles in .*; got 7"):
        CloudDataset(7, size=16, seed=2, path=folder)
    text = (dataset.Path(dataset.__file__).parent / "default.toml").read_text()
    mine = tmp_path / "mine.toml"
    mine.write_text(text.replace("starless = 0.1", "starless = 0.2"))
    with pytest.raises(InputError, match="recipe: must be that of the clouds in"):
        CloudDataset(6, recipe=mine, size=16, seed=2, path=folder)
    with pytest.raises(InputError, match="path: must not hold clouds of other options"):
        render_clouds(folder, 6, size=16, seed=3, shard_size=4)
    with pytest.raises(ShardError, match=r"manifest\.json is not there: render clouds first"):
        CloudDataset(6, path=tmp_path)


def test_the_command_line_renders_clouds(tmp_path, capsys):
    words = ["fractals", "--kind", "clouds", "--n", "2", "--size", "8", "--seed", "5"]
    words += ["--output", str(tmp_path)]
    assert main(words) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path)
    tiles = CloudDataset(2, size=8, seed=5, path=tmp_path, verify=True)
    assert_allclose(tiles[1].maps, CloudDataset(2, size=8, seed=5)[1].maps, atol=2e-3)
    assert main([*words, "--n-points", "1000"]) == 1
    assert "--n-points: cannot be combined with kind clouds" in capsys.readouterr().err
    words[2] = "fbm"
    assert main([*words, "--recipe", "mine.toml"]) == 1
    assert "--recipe: cannot be combined with kind fbm" in capsys.readouterr().err


def test_a_recipe_survives_the_manifest(folder):
    options = json.loads((folder / "manifest.json").read_text())["options"]
    assert dataset.CloudRecipe.from_dict(options["ranges"]) == read_recipe()
