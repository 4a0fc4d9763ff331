"""Files that change, disks that are full, folders that are closed."""

import os
import resource
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits

from stellarssl import moment_maps, read_cube
from stellarssl.cli import main
from stellarssl.exceptions import ChangedInputError, OutputError
from stellarssl.moments import core
from stellarssl.moments.reading import read_block


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
    made = core.moment_images

    def change(*arguments, **options):
        os.utime(path, ns=(0, 1))
        return made(*arguments, **options)

    monkeypatch.setattr(core, "moment_images", change)
    with pytest.raises(ChangedInputError, match="changed since it was opened"):
        moment_maps(path, n_threads=1)


TRUNCATING = """
import pathlib, sys
from stellarssl.cli import main
from stellarssl.moments import noise

path = pathlib.Path(sys.argv[1])
read = noise.read_block

def cut(*arguments):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 3)
    return read(*arguments)

noise.read_block = cut
sys.exit(main(["moments", str(path), "--output", sys.argv[2]]))
"""


def test_truncated_while_it_is_read(path, tmp_path):
    """The process ends with one line and status 1; a mapped file would end it with SIGBUS."""
    command = [sys.executable, "-W", "ignore", "-c", TRUNCATING, path, tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert "changed since it was opened" in line
    assert not list((tmp_path / "out").glob("*.fits"))


@pytest.mark.parametrize("columns", [slice(0, 56), slice(7, 40)])
@pytest.mark.parametrize("dtype", [">f4", "=f4", ">f8", ">i2"])
def test_blocks_are_native_floats(cloud, make_hdu, tmp_path, dtype, columns):
    """A file, after another HDU, and the same array in memory."""
    hdu = make_hdu(cloud)
    values = (100 * cloud).astype(dtype)
    image = fits.ImageHDU(values, hdu.header)
    fits.HDUList([fits.PrimaryHDU(np.ones(999)), image]).writeto(tmp_path / "second.fits")
    part = slice(3, 9), slice(5, 31), columns
    for cube in (read_cube(tmp_path / "second.fits"), read_cube(image)):
        for _ in range(2):  # what is read is not changed
            block = read_block(cube, *part)
            assert block.dtype == np.float32
            assert block.dtype.isnative
            assert block.flags.c_contiguous
            np.testing.assert_array_equal(block, values[part].astype("f4"))


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
