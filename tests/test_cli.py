"""The command: exit status, one line on standard error, and files that are whole."""

import shutil
import signal
import subprocess
import sys
import time

import astropy.units as u
import matplotlib.image as mpl_image
import numpy as np
import pytest
from astropy.config.paths import set_temp_cache
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable, Table
from astropy.utils.masked import Masked
from regions import Regions

import stellarssl
from stellarssl.cli import main
from stellarssl.encoder import Encoder, read_weights
from stellarssl.library import ReferenceLibrary
from stellarssl.pretrain import FlameDataset


@pytest.fixture(autouse=True)
def shipped(monkeypatch, small_encoder, small_library, tmp_path_factory):
    """The command with small data in the place of the shipped."""
    monkeypatch.setattr(Encoder, "from_pretrained", lambda: small_encoder)
    monkeypatch.setattr(ReferenceLibrary, "default", lambda: small_library)
    with set_temp_cache(tmp_path_factory.getbasetemp()):
        yield


@pytest.fixture
def cube(tmp_path):
    """A C18O cube of 48 x 48 pixels about one star."""
    with fits.open(stellarssl.demo_files()[0]) as hdus:
        hdu = fits.PrimaryHDU(hdus[0].data[:, 40:88, 40:88], hdus[0].header)
    hdu.header["CRPIX1"] -= 40
    hdu.header["CRPIX2"] -= 40
    hdu.writeto(tmp_path / "cloud.fits")
    return tmp_path / "cloud.fits"


def _error(capsys):
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_analyze_writes_what_opens_elsewhere(cube, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["analyze", str(cube), "--output", str(out)]) == 0
    printed = capsys.readouterr().out.splitlines()
    for name in ("moments.fits", "masses.ecsv", "labels.fits", "segments.reg", "moments.png"):
        assert str(out / name) in printed
    record = QTable.read(out / "masses.ecsv")
    export = Table.read(out / "masses.fits")
    assert list(export["id"]) == list(record["id"])
    np.testing.assert_allclose(export["ra"], record["skycoord"].ra.deg)
    np.testing.assert_array_equal(np.ma.getmaskarray(export["mass"]), record["mass"].mask)
    regions = Regions.read(out / "segments.reg")
    segments = QTable.read(out / "segments.ecsv")
    assert [str(r.meta["text"]) for r in regions] == [str(name) for name in segments["id"]]


@pytest.mark.skipif(shutil.which("fitsverify") is None, reason="fitsverify is not installed")
def test_images_and_tables_are_clean_fits(cube, tmp_path):
    out = tmp_path / "out"
    assert main(["analyze", str(cube), "--output", str(out)]) == 0
    files = sorted(map(str, out.glob("*.fits")))
    assert len(files) >= 4
    report = subprocess.run(
        ["fitsverify", "-q", *files], capture_output=True, text=True, check=False
    )
    assert report.stdout.count("verification OK") == len(files), report.stdout


def test_one_verb_one_product(cube, tmp_path, capsys):
    for verb, name in (("moments", "moments.fits"), ("mass", "masses.vot"), ("segment", "rgb.png")):
        assert main([verb, str(cube), "--output", str(tmp_path / verb)]) == 0
        assert (tmp_path / verb / name).is_file()
        assert str(tmp_path / verb / name) in capsys.readouterr().out


def test_results_are_not_replaced_unasked(cube, tmp_path, capsys):
    words = ["moments", str(cube), "--output", str(tmp_path / "out")]
    assert main(words) == 0
    before = (tmp_path / "out" / "moments.fits").stat().st_mtime_ns
    assert main(words) == 1
    assert "exists and is not replaced (--overwrite)" in _error(capsys)
    assert (tmp_path / "out" / "moments.fits").stat().st_mtime_ns == before
    assert main([*words, "--overwrite"]) == 0
    assert (tmp_path / "out" / "moments.fits").stat().st_mtime_ns > before


def test_positions_of_a_catalog(cube, tmp_path, capsys):
    stars = QTable.read(stellarssl.demo_files()[1])[:2]
    stars["id", "skycoord"].write(tmp_path / "stars.ecsv")
    words = ["--positions", str(tmp_path / "stars.ecsv"), "--output", str(tmp_path / "out")]
    assert main(["mass", str(cube), *words]) == 0
    assert list(QTable.read(tmp_path / "out" / "masses.ecsv")["id"]) == list(stars["id"])
    assert str(stars["id"][0]) in capsys.readouterr().out


def test_profile_names_the_stages(cube, tmp_path, capsys):
    words = ["mass", str(cube), "--profile", "--output", str(tmp_path / "out")]
    assert main(words) == 0
    table = capsys.readouterr().err.splitlines()
    names = [line.split("  ")[0] for line in table if line.endswith("%")]
    assert {"cube", "moments", "tiles", "spectra", "observe library", "masses"} <= set(names)
    assert names[-1] == "whole"


def test_options_reach_the_maps(cube, tmp_path):
    words = ["--velocity-range", "-1 1 km/s", "--distance", "280 pc", "--tracer", "C18O"]
    assert main(["moments", str(cube), *words, "--output", str(tmp_path / "out")]) == 0
    maps = stellarssl.MomentMaps.read(tmp_path / "out" / "moments.fits")
    assert maps.distance == 280 * u.pc
    assert np.nanmax(np.abs(maps.v_los)) <= 1 * u.km / u.s


def test_a_catalog_with_velocity_ranges(cube, tmp_path):
    star = QTable.read(stellarssl.demo_files()[1])["skycoord"][0]
    rows = QTable({"id": ["blue", "red"], "skycoord": SkyCoord([star, star])})
    rows["velocity_range"] = [[-4, 0], [0, 4]] * u.km / u.s
    rows.write(tmp_path / "stars.ecsv")
    expected = stellarssl.estimate_mass(cube, rows)["gas_mass"].unmasked
    assert expected[0] != expected[1] > 0
    catalog = ["--positions", str(tmp_path / "stars.ecsv")]
    for verb in ("mass", "analyze"):
        out = tmp_path / verb
        assert main([verb, str(cube), *catalog, "--output", str(out)]) == 0
        masses = QTable.read(out / "masses.ecsv")["gas_mass"]
        np.testing.assert_array_equal(masses.unmasked, expected)


def test_masks_and_noise_from_files(cube, tmp_path):
    with fits.open(cube) as hdus:
        mask = hdus[0].data > 0.5
    fits.PrimaryHDU(mask.astype("u1")).writeto(tmp_path / "mask.fits")
    words = ["--mask", str(tmp_path / "mask.fits"), "--noise", "0.1 K", "--tracer", "none"]
    assert main(["moments", str(cube), *words, "--output", str(tmp_path / "out")]) == 0
    maps = stellarssl.MomentMaps.read(tmp_path / "out" / "moments.fits")
    expected = stellarssl.moment_maps(cube, mask=mask, noise="0.1 K", tracer=None)
    assert maps.tracer is None
    np.testing.assert_array_equal(maps.detected, expected.detected)
    np.testing.assert_allclose(maps.moment0, expected.moment0, rtol=1e-6)


def test_an_unknown_option_is_refused_with_a_suggestion(cube, capsys):
    assert main(["mass", str(cube), "--max-scale", "2 arcmin"]) == 2
    assert "unknown option --max-scale; did you mean" in capsys.readouterr().err
    assert main(["moments", str(cube), "--trazer", "13CO"]) == 2
    assert "unknown option --trazer; did you mean --tracer?" in capsys.readouterr().err


def test_analyze_ends_well_once_there_are_moments(cube, tmp_path, capsys):
    fits.setval(cube, "RESTFRQ", value=96.741e9)  # methanol, which has no column formula
    assert main(["analyze", str(cube), "--output", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert "note: maps have no column: tracer: must be named" in lines[0]
    lines = [line for line in lines if ": no " in line]
    assert len(lines) == 1
    assert lines[0].startswith("stellarssl: no segments: ")
    assert "tracer" in lines[0]
    assert (tmp_path / "out" / "moments.fits").is_file()
    # a row for each peak, and the reason why it has no mass
    masses = QTable.read(tmp_path / "out" / "masses.ecsv")
    assert masses["mass"].mask.all()
    assert all("unknown_line" in words for words in masses["flag_words"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["moments", "nowhere.fits"], "nowhere.fits"),
        (["mass", "CUBE", "--distance", "288"], "distance: must be a quantity"),
        (["mass", "CUBE", "--positions", "nowhere.ecsv"], "positions: must name a file"),
        (["moments", "CUBE", "--tracer", "XY"], "tracer: "),
        (["moments", "CUBE", "--velocity-range", "900 910 km/s"], "--velocity-range: "),
    ],
)
def test_failure_is_one_line_and_a_status(cube, tmp_path, capsys, words, message):
    words = [str(cube) if word == "CUBE" else word for word in words]
    assert main([*words, "--output", str(tmp_path / "out")]) == 1
    assert message in _error(capsys)
    assert not list(tmp_path.glob("out/*"))


def test_wrong_words(capsys):
    assert main(["weigh", "cloud.fits"]) == 2
    assert "invalid choice" in capsys.readouterr().err
    assert main([]) == 2
    assert main(["--version"]) == 0
    assert stellarssl.__version__ in capsys.readouterr().out


def test_info_tells_what_is_refused(cube, capsys):
    assert main(["info", str(cube)]) == 0
    report = capsys.readouterr().out
    assert "C18O(1-0)" in report
    assert "140 pc" in report
    fits.delval(cube, "BUNIT")
    assert main(["info", str(cube)]) == 1
    assert "--unit: must be given" in capsys.readouterr().out


def test_demo_prints_the_truth_beside_the_estimate(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ReferenceLibrary, "exclude", lambda self, **_: self)
    assert main(["demo", "--output", str(tmp_path / "demo")]) == 0
    out = capsys.readouterr().out
    assert "true_mass" in out
    assert (tmp_path / "demo" / "masses.png").is_file()
    stars = QTable.read(stellarssl.demo_files()[1])
    assert all(str(name) in out for name in stars["id"])


def test_a_picture_of_truth_beside_estimate(tmp_path):
    stars = QTable.read(stellarssl.demo_files()[1])
    masses = QTable({"id": stars["id"]})
    factors = {"": 1, "_lower": 0.5, "_upper": 2, "_lower_95": 0.2, "_upper_95": 5}
    for end, factor in factors.items():
        masses[f"mass{end}"] = Masked(factor * stars["mass"], mask=np.arange(len(stars)) == 0)
    path = stellarssl.write_comparison(masses, stars, tmp_path)
    assert path == tmp_path / "comparison.png"
    assert mpl_image.imread(path).std() > 0


RUN = "import sys; from stellarssl.cli import main; sys.exit(main())"


def test_a_killed_rendering_goes_on(tmp_path):
    """Killed after the first of three shards: that one stays as it is, the others follow."""
    folder = tmp_path / "flames"
    words = ["fractals", "--n", "2400", "--kind", "fbm", "--size", "16", "--output", str(folder)]
    words += ["--shard-size", "1000"]
    process = subprocess.Popen([sys.executable, "-c", RUN, *words])
    first = folder / "flames-00000.npy"
    while not first.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (folder / "flames-00002.npy").exists()
    written = first.stat()

    assert main(words) == 0
    again = first.stat()
    assert (again.st_ino, again.st_mtime_ns) == (written.st_ino, written.st_mtime_ns)
    flames = FlameDataset(2400, kind="fbm", size=16, path=folder, verify=True)
    assert np.isfinite(flames[2399]).all()


def test_flames_of_other_options_are_refused(tmp_path, capsys):
    words = ["fractals", "--kind", "fbm", "--output", str(tmp_path), "--size"]
    assert main([*words, "16", "--n", "3"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path)
    assert main([*words, "24", "--n", "3"]) == 1
    assert "path: must not hold flames of other options" in _error(capsys)
    assert main(["fractals", "--n", "3"]) == 2


@pytest.fixture
def preset(tmp_path):
    pytest.importorskip("lightly")
    pytest.importorskip("lightning")
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


TINY = """
data = {n_flames = 20, size = 32, kind = "fbm"}
network = {architecture = "test_vit", image_size = 32, width = 64, n_registers = 1}
head = {hidden = 16, bottleneck = 8, prototypes = 12}
optimizer = {steps = 2, batch_size = 4}
stages = [{until = 1.0, global_size = 16, local_size = 8, n_local = 1}]
watch = {every = 2, n_flames = 8}
"""


def test_from_flames_to_weights(preset, tmp_path, capsys):
    run, flames, weights = (str(tmp_path / name) for name in ("run", "flames", "w.safetensors"))
    words = ["fractals", "--n", "20", "--kind", "fbm", "--size", "32", "--output", flames]
    assert main(words) == 0
    words = ["pretrain", str(preset), "--output", run, "--data", flames, "--max-steps", "1"]
    assert main(words) == 0
    assert main(words[:-2]) == 0
    last = str(tmp_path / "run" / "last.ckpt")
    printed = capsys.readouterr()
    assert printed.out.split() == [flames, last, last]
    assert printed.err == ""
    assert main(["export", run, "--output", weights, "--name", "mine", "--notes", "Noise."]) == 0
    encoder = stellarssl.Encoder(*read_weights(tmp_path / "w.safetensors"), device="cpu")
    assert encoder.name == "mine"
    assert "| steps | 2 of 2, batch 4 |" in (tmp_path / "w.md").read_text()
    assert "Noise." in (tmp_path / "w.md").read_text()
    capsys.readouterr()
    assert main(["export", run, "--output", weights, "--name", "mine"]) == 1
    assert "exists and is not replaced (--overwrite)" in _error(capsys)


def test_a_dry_run_writes_nothing(preset, tmp_path, capsys):
    assert main(["pretrain", str(preset), "--dry-run"]) == 0
    text = capsys.readouterr().out
    for word in ("8 shown, 8 distinct", "2 of 4 flames", "operations", "memory", "time here"):
        assert word in text
    assert list(tmp_path.iterdir()) == [preset]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pretrain", "PRESET"], "--output: must be given, unless it is a dry run (--dry-run)"),
        (["pretrain", "huge", "--dry-run"], "preset: must be one of cpu-tiny, "),
        (["pretrain", "PRESET", "--output", "RUN", "--accelerator", "tpu"], "accelerator: must be"),
        (["pretrain", "PRESET", "--output", "RUN", "--precision", "8-bit"], "precision: must be"),
        (["pretrain", "PRESET", "--output", "RUN", "--data", "NONE"], "manifest.json is not there"),
        (["export", "NONE", "--output", "w.safetensors", "--name", "a"], "run: must be the folder"),
    ],
)
def test_what_cannot_be_trained_or_exported(preset, tmp_path, capsys, words, message):
    places = {"PRESET": str(preset), "RUN": str(tmp_path / "run"), "NONE": str(tmp_path / "none")}
    assert main([places.get(word, word) for word in words]) == 1
    assert message in _error(capsys)
    assert not (tmp_path / "run").exists()


def test_a_key_that_is_not_known(preset, capsys):
    preset.write_text(TINY.replace("batch_size", "batchsize"))
    assert main(["pretrain", str(preset), "--dry-run"]) == 1
    assert "[optimizer]: has keys steps, batch_size" in _error(capsys)
