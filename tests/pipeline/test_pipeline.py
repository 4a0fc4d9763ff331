"""From the shipped demo cube to masses and segments, with a small library and random weights."""

import astropy.units as u
import numpy as np
import pytest
from astropy.config.paths import set_temp_cache
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable
from astropy.utils.masked import Masked

import stellarssl
from stellarssl.exceptions import (
    InputError,
    MissingInputError,
    OutputExistsError,
    StellarSSLWarning,
)
from stellarssl.masses.flags import flag_bit
from stellarssl.pipeline import analyze, compare, demo_files, estimate_mass, segment


@pytest.fixture(autouse=True)
def cache(tmp_path_factory):
    """A cache of the session's own: what one test embeds the next finds."""
    with set_temp_cache(tmp_path_factory.getbasetemp()):
        yield


@pytest.fixture(scope="module")
def maps():
    return stellarssl.moment_maps(demo_files()[0])


@pytest.fixture(scope="module")
def stars():
    return QTable.read(demo_files()[1])


@pytest.fixture
def reference(small_library):
    return {"library": small_library}


@pytest.fixture
def both(small_library, small_encoder):
    return {"library": small_library, "encoder": small_encoder}


def test_a_row_for_each_star_in_its_order(maps, stars, reference):
    table = estimate_mass(maps, stars, **reference)
    assert list(table["id"]) == list(stars["id"])
    assert table["skycoord"].separation(stars["skycoord"]).max() < 1e-3 * u.arcsec
    assert table["mass"].unit == u.solMass
    known = ~table["mass"].mask
    mass, low, high = (table[n].unmasked[known] for n in ("mass", "mass_lower", "mass_upper"))
    assert np.all((low <= mass) & (mass <= high))
    low95, high95 = (table[n].unmasked[known] for n in ("mass_lower_95", "mass_upper_95"))
    assert np.all((low95 <= low) & (high <= high95))
    assert np.all(table["flags"] & flag_bit("distance_from_header"))


def test_a_mass_is_masked_just_where_a_masking_flag_says_so(maps, stars, reference):
    table = estimate_mass(maps, stars, **reference)
    masking = sum(flag.bit for flag in stellarssl.masses.flags.FLAGS if flag.masks)
    np.testing.assert_array_equal(table["mass"].mask, (table["flags"] & masking) != 0)


def test_meta_tells_what_the_numbers_rest_on(maps, stars, reference):
    meta = estimate_mass(maps, stars, distance="150 pc", **reference).meta
    assert meta["distance_pc"] == 150
    assert meta["tracer"] == "C18O(1-0)"
    assert (meta["reader"], meta["prior"]) == ("forest", "library")
    assert meta["moments_specsys"] == "LSRK"
    assert "upper bound" in meta["label"]
    assert len(meta["library_sha256"]) == 64


def test_without_positions_the_peaks_are_candidates(maps, reference):
    table = estimate_mass(maps, **reference)
    assert len(table) > 0
    assert np.all(table["flags"] & flag_bit("position_from_peak"))
    assert table["id"][0] == "peak-1"


def test_gas_mass_goes_with_the_square_of_the_distance(maps, stars, reference):
    # the tile is physical: at twice the distance it is half as wide on the sky, so compare a tile
    # that is uniform to first order by its mean column instead: M = N * (0.5 pc)^2 * 1.4 m_p
    table = estimate_mass(maps, stars[:1], distance="140 pc", **reference)
    tiles = stellarssl.make_tiles(maps, stars["skycoord"][:1], distance="140 pc")
    column = np.where(tiles.detected[0], 10.0 ** tiles.maps[0, 0].astype(float), 0).mean()
    expected = column * (0.5 * 3.0857e18) ** 2 * 1.4 * 1.6726e-24 / 1.9885e33
    assert table["gas_mass"][0].unmasked.to_value(u.solMass) == pytest.approx(expected, rel=1e-3)


def test_each_source_at_its_own_distance(maps, stars, reference):
    rows = stars["id", "skycoord"][:2]
    near = estimate_mass(maps, rows, distance="140 pc", **reference)
    far = estimate_mass(maps, rows, distance="280 pc", **reference)
    rows["distance"] = [280, 140] * u.pc
    both = estimate_mass(maps, rows, **reference)
    assert list(both["id"]) == list(rows["id"])
    assert both["gas_mass"][0] == far["gas_mass"][0]
    assert both["gas_mass"][1] == near["gas_mass"][1]
    assert both.meta["distance_pc"] == "per source"
    assert not np.any(both["flags"] & flag_bit("distance_from_header"))


def test_each_source_in_its_own_velocities(stars, reference):
    cube = demo_files()[0]
    rows = stars["id", "skycoord"][:2]
    rows["velocity_range"] = [[-4, 0], [0, 4]] * u.km / u.s
    table = estimate_mass(cube, rows, **reference)
    low, high = (
        estimate_mass(
            stellarssl.moment_maps(cube, velocity_range=window), stars[i : i + 1], **reference
        )
        for i, window in enumerate(rows["velocity_range"])
    )
    assert table["gas_mass"][0] == low["gas_mass"][0]
    assert table["gas_mass"][1] == high["gas_mass"][0]
    with pytest.raises(InputError, match="velocity_range: per source needs a cube"):
        estimate_mass(stellarssl.moment_maps(cube), rows, **reference)


def test_a_position_off_the_map_keeps_its_row_and_says_so(maps, stars, reference):
    far = SkyCoord([stars["skycoord"][0], stars["skycoord"][0].directional_offset_by(0, 5 * u.deg)])
    table = estimate_mass(maps, far, **reference)
    assert "off_map" in table["flag_words"][1]
    assert table["mass"].mask[1]
    assert "off_map" not in table["flag_words"][0]


def test_what_the_interferometer_filters_out(stars, reference):
    maps = stellarssl.moment_maps(demo_files()[0], max_recoverable_scale="5 arcmin")
    table = estimate_mass(maps, stars[:1], **reference)  # 0.5 pc at 140 pc are 12.3 arcmin
    assert "missing_flux" in table["flag_words"][0]
    assert table["mass"].mask[0]


def test_a_library_that_was_observed_is_used_as_it_is(maps, stars, small_library, small_encoder):
    observed = small_library.observed(stellarssl.Observation.of(maps), small_encoder)
    given = estimate_mass(maps, stars, library=observed)
    made = estimate_mass(maps, stars, library=small_library)
    np.testing.assert_array_equal(given["mass"].unmasked, made["mass"].unmasked)


def test_without_a_distance_there_is_no_mass_but_segments(maps, reference, both):
    nowhere = stellarssl.MomentMaps.from_maps(
        n_h=maps.n_h, v_los=maps.v_los, sigma_v=maps.sigma_v, wcs=maps.wcs, beam=maps.beam
    )
    with pytest.raises(MissingInputError, match="distance: must be given"):
        estimate_mass(nowhere, **reference)
    assert segment(nowhere, **both).labels.shape == maps.shape


def test_analyze_makes_the_same_as_its_parts(maps, stars, reference, tmp_path, both):
    analysis = analyze(maps, stars, **both)
    alone = estimate_mass(maps, stars, **reference)
    np.testing.assert_array_equal(analysis.masses["mass"].unmasked, alone["mass"].unmasked)
    assert analysis.segmentation.labels.max() == len(analysis.segmentation.table)
    assert analysis.refused == {}
    paths = analysis.write(tmp_path / "out")
    assert all(path.is_file() for path in paths)
    assert {p.name for p in paths} >= {
        "moments.fits", "masses.ecsv", "masses.fits", "masses.vot", "labels.fits", "segments.reg",
    }  # fmt: skip
    with pytest.raises(OutputExistsError, match="overwrite"):
        analysis.write(tmp_path / "out")
    assert analysis.write(tmp_path / "out", overwrite=True) == paths


def test_masses_of_a_thin_line_need_no_column_but_segments_do(both):
    maps = stellarssl.moment_maps(demo_files()[0], tracer=None)
    analysis = analyze(maps, **both)
    assert analysis.masses["gas_mass"].mask.all()
    assert not any("unknown_line" in words for words in analysis.masses["flag_words"])
    assert all("no_column" in words for words in analysis.masses["flag_words"])
    assert "tracer" in str(analysis.refused["segments"])


def test_truth_beside_estimate(stars):
    masses = QTable(
        {
            "id": stars["id"][:2],
            "mass": Masked([1, 2] * u.Msun, mask=[False, False]),
            "mass_lower": Masked([0.001, 1000] * u.Msun, mask=[False, False]),
            "mass_upper": Masked([1000, 2000] * u.Msun, mask=[False, False]),
            "novelty_pvalue": [0.5, 0.5],
            "flag_words": ["", ""],
        }
    )
    table = compare(masses, stars)
    np.testing.assert_array_equal(table["true_mass"], stars["mass"][:2])
    np.testing.assert_array_equal(table["inside"], [True, False])


@pytest.fixture
def bare(tmp_path):
    """The demo cube without unit, beam, line and distance in its header."""
    with fits.open(demo_files()[0]) as hdus:
        hdu = fits.PrimaryHDU(hdus[0].data, hdus[0].header)
    known = {"distance": "150 pc", "rest_value": hdu.header["RESTFRQ"] * u.Hz}
    beam = hdu.header["BMAJ"] * u.deg
    for card in ("BUNIT", "BMAJ", "BMIN", "BPA", "RESTFRQ", "DISTANCE"):
        hdu.header.remove(card, ignore_missing=True)
    hdu.writeto(tmp_path / "bare.fits")
    return tmp_path / "bare.fits", {"unit": "K", "beam": beam, "tracer": "C18O", **known}


def test_options_of_a_cube_are_those_of_its_maps(bare, stars, reference, both):
    path, options = bare
    maps = stellarssl.moment_maps(path, **options)
    direct = estimate_mass(path, stars[:2], **options, **reference)
    later = estimate_mass(maps, stars[:2], **reference)
    np.testing.assert_array_equal(direct["gas_mass"].unmasked, later["gas_mass"].unmasked)
    assert direct.meta["distance_pc"] == 150
    segments = segment(path, n_classes=3, **options, **both)
    again = segment(maps, n_classes=3, **both)
    np.testing.assert_array_equal(segments.labels, again.labels)
    analysis = analyze(path, stars[:2], n_classes=3, **options, **both)
    assert not analysis.refused
    np.testing.assert_array_equal(analysis.segmentation.labels, again.labels)


@pytest.mark.parametrize("function", [estimate_mass, segment, analyze])
@pytest.mark.parametrize(
    ("name", "value"), [("unit", "K"), ("beam", "1 arcmin"), ("tracer", "13CO"), ("n_threads", 1)]
)
def test_options_of_reading_come_too_late_for_maps(maps, reference, function, name, value):
    with pytest.raises(InputError, match=f"{name}: applies to a cube, but these are maps"):
        function(maps, **{name: value}, **reference)


def test_a_flag_that_is_allowed_masks_no_mass(stars, reference):
    options = {"max_recoverable_scale": "1 arcmin", **reference}
    masked = estimate_mass(demo_files()[0], stars, **options)
    assert np.all(masked["flags"] & flag_bit("missing_flux"))
    assert masked["mass"].mask.all()
    words = {word for row in masked["flag_words"] for word in row.split(",")}
    shown = estimate_mass(demo_files()[0], stars, allow=sorted(words), **options)
    assert not shown["mass"].mask.all()
    np.testing.assert_array_equal(shown["flags"], masked["flags"])
    for function in (estimate_mass, analyze):
        with pytest.raises(InputError, match=r"allow: must be one of .*; got 'much'"):
            function(demo_files()[0], stars, allow=["much"], **reference)
        with pytest.raises(InputError, match="allow: must be a sequence of flag words"):
            function(demo_files()[0], stars, allow="missing_flux", **reference)


def test_library_and_encoder_from_files(maps, stars, both, tmp_path):
    both["library"].write(tmp_path / "library.fits")
    both["encoder"].write(tmp_path / "encoder.safetensors")
    files = {"library": tmp_path / "library.fits", "encoder": tmp_path / "encoder.safetensors"}
    assert estimate_mass(maps, stars[:2], reader="knn", **files).meta["encoder"] == "random-0"
    for function in (estimate_mass, segment, analyze):
        with pytest.raises(InputError, match=r"library: .*got '.*none\.fits'"):
            function(maps, library=tmp_path / "none.fits")
        knn = {} if function is segment else {"reader": "knn"}
        with pytest.raises(InputError, match=r"encoder: .*got '.*none\.safetensors'"):
            function(maps, encoder=str(tmp_path / "none.safetensors"), **knn)
        with pytest.raises(
            InputError, match="library: must be a ReferenceLibrary, PPVTiles or a file"
        ):
            function(maps, library=3)
        with pytest.raises(InputError, match="encoder: must be an Encoder, a shipped name or"):
            function(maps, encoder=3, **knn)


def test_without_a_known_line_everybody_gets_maps_and_a_warning(tmp_path, both):
    with fits.open(demo_files()[0]) as hdus:
        hdu = fits.PrimaryHDU(hdus[0].data, hdus[0].header)
    for frequency, argument in ((96.741e9, "tracer"), (93.1737637e9, "abundance")):
        hdu.header["RESTFRQ"] = frequency
        with pytest.warns(StellarSSLWarning, match=f"maps have no column: {argument}: "):
            analysis = analyze(hdu, **both)
        assert analysis.maps.tracer is None
        assert list(analysis.refused) == ["segments"]
        # N2H+ is known to be thin: masses need no column
        unknown = ["unknown_line" in words for words in analysis.masses["flag_words"]]
        assert np.all(unknown) == np.any(unknown) == (argument == "tracer")
        assert analysis.masses["gas_mass"].mask.all()
