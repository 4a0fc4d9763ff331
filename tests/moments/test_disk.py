"""Files that change, disks that are full, folders that are closed."""

import os
import resource
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits

from stellarssl import moment_maps, read_cube
from stellarssl.cli import main
from stellarssl.exceptions import ChangedInputError, OutputError
from stellarssl.moments import _pass, _voxels
from stellarssl.moments._voxels import Voxels


@pytest.fixture
def path(cloud, make_hdu, tmp_path):
    make_hdu(cloud).writeto(tmp_path / "cube.fits")
    return tmp_path / "cube.fits"


def test_changed_between_opening_and_reading(path):
    cube = read_cube(path)
    os.utime(path, ns=(0, 1))
    with pytest.raises(ChangedInputError, match=r"changed since it was opened .*time of change"):
        moment_maps(cube)
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(ChangedInputError, match=r"\d+ bytes then, \d+ now"):
        moment_maps(cube)
    path.unlink()
    with pytest.raises(ChangedInputError, match=r"\d+ bytes then, 0 now"):
        moment_maps(cube)


def test_changed_while_the_last_block_is_read(path, monkeypatch):
    made = _pass._moments

    def change(*arguments):
        os.utime(path, ns=(0, 1))
        return made(*arguments)

    monkeypatch.setattr(_pass, "_moments", change)
    with pytest.raises(ChangedInputError, match="changed since it was opened"):
        moment_maps(path, n_threads=1)


@pytest.mark.parametrize("columns", [slice(0, 56), slice(7, 40)])
def test_large_file_is_read_where_its_values_are(path, monkeypatch, columns):
    """A file of any size counts as large, after another HDU."""
    fits.HDUList(
        [fits.PrimaryHDU(np.ones(999)), fits.ImageHDU(*fits.getdata(path, header=True))]
    ).writeto(path, overwrite=True)
    monkeypatch.setattr(_voxels, "_MAPPED", 1)
    monkeypatch.setattr(_voxels, "_TOUCHED", 1)
    voxels = Voxels.of(read_cube(path), 1.0)
    assert voxels.file == path
    channels, rows = [slice(3, 9), slice(40, 64)], slice(5, 31)
    view, which = voxels.view(channels, rows, columns)
    values = view.flat.view(">f4" if view.swapped else "=f4").reshape(len(which), 26, -1)
    truth = np.concatenate([fits.getdata(path, 1)[part] for part in channels])
    np.testing.assert_array_equal(values, truth[:, rows, columns])


def test_large_file_gives_the_same_moments(path, monkeypatch):
    maps = [moment_maps(path)]
    monkeypatch.setattr(_voxels, "_MAPPED", 1)
    monkeypatch.setattr(_voxels, "_TOUCHED", 1)
    maps += [
        moment_maps(path, n_threads=n, memory_limit=limit)
        for n, limit in ((1, "9 MB"), (2, "1 MB"))
    ]
    for other in maps[1:]:
        for name in ("moment0", "v_los", "sigma_v", "noise", "moment0_limit"):
            np.testing.assert_array_equal(getattr(maps[0], name), getattr(other, name))


@pytest.fixture
def maps(path):
    return moment_maps(path)


def test_too_little_free(maps, tmp_path, monkeypatch):
    usage = SimpleNamespace(free=5000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OutputError, match=r"moments\.fits needs 0\.\d+ MB; 0\.005 MB are free"):
        maps.write(tmp_path / "moments.fits")
    assert [each.name for each in tmp_path.iterdir()] == ["cube.fits"]


def test_full_while_writing(maps, tmp_path):
    """No file may grow beyond 20 kB."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"moments\.fits cannot be written: ") as caught:
            maps.write(tmp_path / "moments.fits")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    assert [each.name for each in tmp_path.iterdir()] == ["cube.fits"]


def test_output_below_a_file(maps, path):
    with pytest.raises(OutputError, match="cannot be written: "):
        maps.write(path / "moments.fits")


def test_plan_of_the_command(path, capsys):
    assert main(["info", str(path), "--plan"]) == 0
    said = capsys.readouterr().out
    assert "blocks of" in said
    assert "no scratch space" in said
    assert np.all(["plan" in line for line in said.splitlines() if "blocks of" in line])
