import os

import astropy.units as u
import numpy as np
import pytest
from astropy.config import set_temp_cache
from astropy.io import fits
from sklearn.decomposition import PCA

from stellarssl.encoder import Encoder, block_names
from stellarssl.exceptions import EncoderMismatchError, InputError, OutputExistsError
from stellarssl.library import DEFAULT_BLOCKS, N_VIEWS, ReferenceLibrary, token_statistics
from stellarssl.library import cache as feature_cache
from stellarssl.library.reference import SHIPPED
from stellarssl.library.tokens import off_center
from stellarssl.observe import Observation, observe_maps
from stellarssl.tiles import tile_statistics

KMS = u.km / u.s
TELESCOPE = Observation(6.0, 0.1, 0.1, 0.07, 1e21)


@pytest.fixture(autouse=True)
def cache(tmp_path):
    with set_temp_cache(tmp_path):
        yield tmp_path


@pytest.fixture(scope="module")
def encoder():
    return Encoder.random(
        architecture="test_vit", width=64, n_registers=0, device="cpu", dtype="float32"
    )


def _inputs(n=12, seed=0):
    rng = np.random.default_rng(seed)
    smooth = np.cumsum(np.cumsum(rng.normal(size=(3, n, 64, 64)), axis=2), axis=3) / 64
    return {
        "n_h": 10 ** (22 + 0.3 * smooth[0]) * u.cm**-2,
        "v_los": (5 + smooth[1]) * KMS,
        "sigma_v": np.abs(smooth[2]) * KMS,
        "mass": np.where(np.arange(n) % 4 == 3, np.nan, 10 ** rng.uniform(-1, 1, n)) * u.Msun,
        "group": [f"{'none' if i % 4 == 3 else 'star'}{i // 2}" for i in range(n)],
    }


@pytest.fixture
def library():
    sims = np.array(["a"] * 4 + ["b"] * 8)
    return ReferenceLibrary.from_maps(
        **_inputs(), columns={"sim": sims, "depth": np.full(12, 4) * u.pc}, meta={"title": "test"}
    )


# making one


def test_velocities_are_relative_to_the_column_weighted_mean():
    inputs = _inputs(1)
    inputs["n_h"] = np.full((1, 64, 64), 1e22) / u.cm**2
    inputs["v_los"] = np.zeros((1, 64, 64)) * KMS
    inputs["n_h"][0, :, :32] *= 3
    inputs["v_los"][0, :, :32] = 4 * KMS
    library = ReferenceLibrary.from_maps(**inputs)
    # the mean is 3/4 of 4 km/s
    np.testing.assert_allclose(library.maps[0, 1, 0, [0, 63]], [1, -3], rtol=1e-6)
    assert library.maps.dtype == np.float32


def test_gas_mass_by_hand():
    inputs = _inputs(1)
    inputs["n_h"] = np.full((1, 64, 64), 1e22) / u.cm**2
    library = ReferenceLibrary.from_maps(**inputs)
    # 1e22 cm^-2 * 1.4 * 1.6726e-24 g * (0.5 * 3.0857e18 cm)^2 / 1.9885e33 g
    np.testing.assert_allclose(library.table["gas_mass"].to_value(u.Msun), 28.03, rtol=1e-3)


def test_units_are_converted():
    inputs = _inputs()
    expected = ReferenceLibrary.from_maps(**inputs)
    inputs |= {
        "n_h": inputs["n_h"].to(u.m**-2),
        "v_los": inputs["v_los"].to(u.m / u.s),
        "mass": inputs["mass"].to(u.kg),
    }
    converted = ReferenceLibrary.from_maps(**inputs)
    np.testing.assert_allclose(converted.maps, expected.maps, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(converted.table["mass"], expected.table["mass"])


def test_labels(library):
    table = library.table
    assert list(table["has_star"]) == [True, True, True, False] * 3
    assert list(table["clump"]) == list(table["group"])
    assert table["mass"].unit == u.Msun
    assert table["depth"].unit == u.pc
    assert library.meta == {"title": "test"}
    np.testing.assert_array_equal(library.statistics.array, tile_statistics(library.maps)[1])
    assert repr(library).startswith("<ReferenceLibrary of 12 maps of 6 stars")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"n_h": np.ones((12, 64, 64)) * u.K},
            "n_h: must be maps in a unit convertible",
        ),
        ({"v_los": np.ones((12, 32, 32)) * KMS}, r"v_los: must have shape \(n, 64, 64\); got"),
        ({"v_los": np.ones((3, 64, 64)) * KMS}, "n_h: must be as many maps as v_los and sigma_v"),
        ({"sigma_v": np.full((12, 64, 64), np.nan) * KMS}, "sigma_v: must be finite everywhere"),
        ({"n_h": np.zeros((12, 64, 64)) * u.cm**-2}, "n_h: must be above zero"),
        ({"mass": np.ones(12)}, "mass: must be a quantity convertible to 'solMass'"),
        ({"mass": -np.ones(12) * u.Msun}, "mass: must be above zero, or NaN"),
        ({"group": ["a", "b"]}, "group: must hold one value for each of the 12 maps; got"),
        ({"columns": {"color": 1}}, "columns: must be among sim, star, .*; got 'color'"),
        ({"columns": {"depth": np.ones(12)}}, "depth: must be a quantity convertible to 'pc'"),
        ({"group": ["a"] * 12}, "group: must name rows of the same has_star; got 'a'"),
        ({"clump": list("abababababab")}, "group: must name rows of the same clump; got"),
    ],
)
def test_refuses_inputs(changes, message):
    with pytest.raises(InputError, match=message):
        ReferenceLibrary.from_maps(**(_inputs() | changes))


# rows


def test_select_and_exclude(library, encoder):
    library = library.embed(encoder)
    stars = library.select(library.table["has_star"])
    assert len(stars) == 9
    np.testing.assert_array_equal(stars.features.array[3], library.features.array[4])
    np.testing.assert_array_equal(stars.statistics.array[3], library.statistics.array[4])
    assert set(library.exclude(sim="a").table["sim"]) == {"b"}
    assert stars.sha256 != library.sha256
    with pytest.raises(InputError, match="sim: must be among a, b; got 's9'"):
        library.exclude(sim="s9")
    with pytest.raises(InputError, match="rows: must leave at least one row; got 0"):
        library.exclude(sim=["a", "b"])
    with pytest.raises(InputError, match="rows: must index the 12 rows of the library"):
        library.select([50])


# files


def test_round_trip(library, encoder, tmp_path):
    library = library.embed(encoder)
    path = tmp_path / "library.fits"
    assert library.write(str(path)) == path
    back = ReferenceLibrary.read(path)
    # to half a step of 0.002 dex and km/s, and float32
    np.testing.assert_allclose(back.maps, library.maps, atol=0.0010021, rtol=0)
    assert back.maps.dtype == np.float32
    assert back.table.colnames == library.table.colnames
    for name in ("sim", "group", "clump", "has_star", "star"):
        np.testing.assert_array_equal(back.table[name], library.table[name])
    for name in ("mass", "time", "depth", "gas_mass"):
        np.testing.assert_array_equal(back.table[name].value, library.table[name].value)
        assert back.table[name].unit == library.table[name].unit
    np.testing.assert_array_equal(back.statistics.array, library.statistics.array)
    assert back.statistics.names == library.statistics.names
    np.testing.assert_array_equal(back.features.array, library.features.array)
    assert dict(back.features.blocks) == dict(library.features.blocks)
    np.testing.assert_array_equal(back.token_mean, library.token_mean)
    np.testing.assert_array_equal(back.token_scale, library.token_scale)
    assert back.meta == library.meta
    back.match_encoder(encoder)
    # what was rounded once stays as it is
    back.write(path, overwrite=True)
    np.testing.assert_array_equal(ReferenceLibrary.read(path).maps, back.maps)


def test_the_file_is_fits_for_everyone(library, tmp_path):
    library.write(tmp_path / "library.fits")
    with fits.open(tmp_path / "library.fits", checksum=True) as hdus:
        assert [hdu.name for hdu in hdus[1:]] == [
            "LOG_N_H", "V_LOS", "SIGMA_V", "TABLE", "SCALARS",
        ]  # fmt: skip
        assert hdus["V_LOS"].header["BUNIT"] == "km/s"
    with pytest.raises(OutputExistsError, match=r"exists and is not replaced \(overwrite=\)"):
        library.write(tmp_path / "library.fits")


@pytest.mark.parametrize("kind", ["missing", "truncated", "other", "text"])
def test_refuses_files(library, kind, tmp_path):
    path = tmp_path / "library.fits"
    if kind == "truncated":
        library.write(path)
        os.truncate(path, path.stat().st_size // 3)
    elif kind == "other":
        fits.PrimaryHDU(np.zeros((3, 3))).writeto(path)
    elif kind == "text":
        path.write_text("not a library\n")
    with pytest.raises(InputError, match="library: must name a library that Reference"):
        ReferenceLibrary.read(path)


# encoders


def test_an_encoder_must_be_the_one_that_made_the_features(library, encoder):
    with pytest.raises(EncoderMismatchError, match="library: has no features"):
        library.match_encoder(encoder)
    embedded = library.embed(encoder)
    embedded.match_encoder(encoder)
    other = Encoder.random(1, architecture="test_vit", width=64, n_registers=0, dtype="float32")
    with pytest.raises(EncoderMismatchError, match="embedded with other weights"):
        embedded.match_encoder(other)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_query_follows_the_dtype_of_the_library(library, encoder, dtype):
    embedded = library.embed(encoder.astype(dtype))
    assert embedded.features.dtype == dtype
    for query in (encoder, encoder.astype("bfloat16")):
        assert embedded.match_encoder(query).dtype == dtype
        assert embedded.match_encoder(query).sha256 == encoder.sha256
        assert embedded.observed(TELESCOPE, query).features.dtype == dtype
    other = Encoder.random(1, architecture="test_vit", width=64, n_registers=0, dtype="bfloat16")
    assert embedded.observed(TELESCOPE, other).features.dtype == "bfloat16"
    assert library.observed(TELESCOPE, encoder).features.dtype == "float32"


def test_only_the_blocks_asked_for(library, encoder):
    everything = encoder.embed(library.maps, blocks=block_names(0.25, 0.5), n_views=N_VIEWS)
    features = library.embed(encoder, blocks=["ring1@0.5", "cls@0.25"]).features
    assert list(features.blocks) == ["ring1@0.5", "cls@0.25"]
    np.testing.assert_allclose(
        features.array, everything.select("ring1@0.5", "cls@0.25"), rtol=1e-4, atol=1e-5
    )
    assert list(library.embed(encoder).features.blocks) == list(DEFAULT_BLOCKS)
    with pytest.raises(InputError, match=r"blocks: must be one of cls, mean, .*; got 'centre'"):
        library.embed(encoder, blocks=["centre"])


# through a telescope


def test_as_a_telescope_would_have_seen_it(library, encoder):
    seen = library.observed(TELESCOPE, encoder)
    assert seen.observation == TELESCOPE.rounded()
    maps, detected = observe_maps(library.maps, TELESCOPE.rounded())
    np.testing.assert_array_equal(seen.maps, maps)
    np.testing.assert_array_equal(seen.detected, detected)
    np.testing.assert_array_equal(seen.statistics.array, tile_statistics(maps, detected)[1])
    expected = encoder.embed(maps, blocks=block_names(0.125), n_views=N_VIEWS).select(
        *DEFAULT_BLOCKS
    )
    np.testing.assert_allclose(seen.features.array, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(seen.table["mass"], library.table["mass"])
    assert seen.tokens is library.tokens is None
    embedded = library.embed(encoder)
    assert embedded.observed(TELESCOPE, encoder).tokens is embedded.tokens
    with pytest.raises(InputError, match="library: has been observed already"):
        seen.observed(TELESCOPE, encoder)
    with pytest.raises(InputError, match="library: must be as simulated, not as observed"):
        seen.write("never.fits")


def _refuse(*_args, **_kwargs):
    raise AssertionError("embedded again")


def test_features_are_kept(library, encoder, monkeypatch):
    first = library.observed(TELESCOPE, encoder)
    monkeypatch.setattr(Encoder, "embed", _refuse)
    second = library.observed(TELESCOPE, encoder)
    np.testing.assert_array_equal(first.features.array, second.features.array)
    assert dict(first.features.blocks) == dict(second.features.blocks)
    second.match_encoder(encoder)
    for changed in (library.select(slice(6)), library):
        with pytest.raises(AssertionError, match="embedded again"):
            changed.observed(Observation(9.0, 0.1, 0.1, 0.07, 1e21), encoder)
    with pytest.raises(AssertionError, match="embedded again"):
        library.observed(TELESCOPE, encoder.astype("bfloat16"))


def test_a_damaged_cache_is_made_again(library, encoder):
    first = library.observed(TELESCOPE, encoder)
    (file,) = feature_cache.folder().iterdir()
    file.write_bytes(file.read_bytes()[:100])
    again = library.observed(TELESCOPE, encoder)
    np.testing.assert_array_equal(first.features.array, again.features.array)


def test_the_cache_has_a_limit(library, encoder, monkeypatch):
    features = library.embed(encoder).features
    (file,) = feature_cache.folder().iterdir()
    size = file.stat().st_size
    file.unlink()
    monkeypatch.setattr(feature_cache, "LIMIT_BYTES", int(2.5 * size))
    for i, name in enumerate(["old", "used", "new"]):
        feature_cache.save(name, features)
        os.utime(feature_cache.folder() / f"{name}.safetensors", (1000 + i, 1000 + i))
        if name == "used":
            assert feature_cache.load("old") is not None  # which makes it the newer of the two
    assert {file.stem for file in feature_cache.folder().iterdir()} == {"old", "new"}


def test_a_cache_that_cannot_be_written_is_done_without(library, encoder, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(feature_cache, "save_file", full)
    assert library.embed(encoder).features is not None
    assert feature_cache.load("nothing") is None


# tokens


def test_token_statistics(encoder):
    inputs = _inputs(20)
    maps = ReferenceLibrary.from_maps(**inputs).maps
    statistics = token_statistics(encoder, maps)
    assert statistics.mean.shape == (8, 8, 64)
    assert statistics.components.shape == (3, 64)
    np.testing.assert_allclose(
        statistics.components @ statistics.components.T, np.eye(3), atol=1e-5
    )
    for component in statistics.components:
        assert component[np.abs(component).argmax()] > 0
    assert (statistics.scale[:, 0] < 0).all()
    assert (statistics.scale[:, 1] > 0).all()
    np.testing.assert_array_equal(token_statistics(encoder, maps).mean, statistics.mean)


def test_components_are_those_of_scikit_learn(encoder):
    maps = ReferenceLibrary.from_maps(**_inputs(10)).maps
    tokens = encoder.patch_tokens(off_center(maps))
    flat = (tokens - tokens.mean(axis=0)).reshape(-1, 64)
    peer = PCA(3, svd_solver="full").fit(flat).components_
    ours = token_statistics(encoder, maps).components
    np.testing.assert_allclose(np.abs(np.sum(peer * ours, axis=1)), 1, atol=1e-4)


def test_tiles_are_shown_off_their_center():
    maps = np.zeros((400, 1, 64, 64), dtype=np.float32)
    maps[:, :, 31:33, 31:33] = 1
    mean = off_center(maps).mean(axis=(0, 1))
    # the star is everywhere, about as often, instead of always in the middle
    assert mean.reshape(8, 8, 8, 8).mean(axis=(1, 3)).max() < 5 * mean.mean()
    np.testing.assert_array_equal(np.sort(np.unique(off_center(maps))), [0, 1])


def test_tokens_without_features(library, encoder, monkeypatch):
    """Segments need no features, which would take ten times as long."""
    expected = library.embed(encoder)
    monkeypatch.setattr(Encoder, "embed", _refuse)
    tokens = library.with_tokens(encoder)
    assert tokens.features is None
    np.testing.assert_array_equal(tokens.token_components, expected.token_components)
    np.testing.assert_array_equal(tokens.token_scale, expected.token_scale)
    monkeypatch.setattr(Encoder, "patch_tokens", _refuse)
    assert tokens.with_tokens(encoder) is tokens
    other = Encoder.random(1, architecture="test_vit", width=64, n_registers=0, device="cpu")
    with pytest.raises(AssertionError, match="embedded again"):
        tokens.with_tokens(other)


def test_without_features_there_are_no_tokens(library):
    with pytest.raises(
        InputError, match=r"library: must hold token statistics: use library.with_tokens\(encoder\)"
    ):
        _ = library.token_mean


# what is shipped

RUNS = ("s1", "s2", "s4", "s5", "s6", "s7", "s8")


@pytest.fixture(scope="module")
def shipped():
    return ReferenceLibrary.default()


def test_the_shipped_library(shipped):
    table = shipped.table
    stars = {name: len(np.unique(table["group"][table["sim"] == name])) for name in RUNS}
    assert stars == {"s1": 38, "s2": 18, "s4": 26, "s5": 21, "s6": 25, "s7": 29, "s8": 28}
    assert set(table["sim"]) == set(RUNS)
    assert np.isfinite(shipped.maps).all()
    assert table["has_star"].all()
    assert np.isfinite(table["mass"]).all()
    assert (table["depth"] == 0.5 * u.pc).all()
    # three outputs of each star at most, along three axes
    _, counts = np.unique(table["group"], return_counts=True)
    assert counts.max() == 9
    # a group lies in one clump and in one run, and has a star or has none
    for name in ("clump", "sim", "has_star"):
        pairs = set(zip(table["group"], map(str, table[name]), strict=True))
        assert len(pairs) == len(np.unique(table["group"]))
    np.testing.assert_allclose(
        shipped.statistics.array, tile_statistics(shipped.maps)[1], atol=1e-6
    )
    assert ReferenceLibrary.default() is shipped
    with pytest.raises(ValueError, match="read-only"):
        shipped.maps[0] = 0


def test_the_shipped_library_is_of_the_shipped_weights(shipped):
    encoder = Encoder.from_pretrained(device="cpu", dtype="float32")
    shipped.match_encoder(encoder)
    rows = [0, len(shipped) // 2, len(shipped) - 1]
    expected = encoder.embed(shipped.maps[rows], blocks=block_names(0.125), n_views=N_VIEWS).select(
        *DEFAULT_BLOCKS
    )
    np.testing.assert_allclose(shipped.features.array[rows], expected, rtol=2e-3, atol=2e-3)
    assert shipped.tokens.encoder_sha256 == encoder.sha256


def test_the_shipped_library_is_small():
    assert SHIPPED.stat().st_size < 25e6


def test_rows_are_those_of_the_simulation(shipped, simulations):
    with fits.open(simulations / "s2_samples.fits") as hdus:
        samples = hdus["SAMPLES"].data
        for row in np.flatnonzero(shipped.table["sim"] == "s2")[::40]:
            label = shipped.table[row]
            (i,) = np.flatnonzero(
                (samples["sink_id"] == label["star"])
                & (samples["output"] == label["output"])
                & (samples["axis"] == label["axis"])
            )
            np.testing.assert_allclose(label["mass"].value, samples["sink_mass"][i], rtol=1e-6)
            n_h, sigma = hdus["LOG_N_HI"].data[i], hdus["SIGMA_V"].data[i]
            np.testing.assert_allclose(shipped.maps[row, 0], n_h, atol=0.00101)
            np.testing.assert_allclose(shipped.maps[row, 2], sigma, atol=0.00101)
            difference = shipped.maps[row, 1] - hdus["V_LOS"].data[i]
            assert np.ptp(difference) < 0.0022  # but for the tile's own velocity
            # columns of gas weigh what the simulation's cells do
            np.testing.assert_allclose(
                label["gas_mass"].to_value(u.Msun), samples["gas_mass"][i], rtol=5e-3
            )
