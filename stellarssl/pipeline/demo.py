"""The shipped cube, and the truth beside the estimate."""

import os
from pathlib import Path

import astropy.units as u
from astropy.table import QTable

import stellarssl

__all__ = ["compare", "demo_files"]


def demo_files() -> tuple[Path, Path]:
    """Return the shipped simulated cube and the catalog of the true stars in it.

    Returns
    -------
    cube, stars : `~pathlib.Path`
        A FITS cube of C18O(1-0), and an ECSV table with ``id``, ``skycoord``, ``mass``, ``age``.
    """
    folder = Path(stellarssl.__file__).parent / "data" / "demo"
    return folder / "c18o_s4.fits.gz", folder / "c18o_s4_stars.ecsv"


def compare(masses: QTable, stars: QTable | str | os.PathLike) -> QTable:
    """Put true masses beside estimated ones.

    Parameters
    ----------
    masses : `~astropy.table.QTable`
        Table that `~stellarssl.estimate_mass` returned at the positions of ``stars``.
    stars : `~astropy.table.QTable` or path-like
        With ``id`` and ``mass``.

    Returns
    -------
    table : `~astropy.table.QTable`
        ``id``, ``true_mass``, ``mass``, its 68 % interval, ``inside`` (whether the truth lies in
        it), ``novelty_pvalue`` and ``flag_words``.
    """
    stars = stars if isinstance(stars, QTable) else QTable.read(stars)
    row_of = {str(name): i for i, name in enumerate(stars["id"])}
    rows = [row_of[str(name)] for name in masses["id"]]
    table = QTable({"id": masses["id"], "true_mass": stars["mass"][rows].to(u.solMass)})
    for name in ("mass", "mass_lower", "mass_upper"):
        table[name] = masses[name]
    truth = table["true_mass"]
    low, high = (table[name].to_value(u.solMass) for name in ("mass_lower", "mass_upper"))
    table["inside"] = (truth.value >= low) & (truth.value <= high)
    table["novelty_pvalue"] = masses["novelty_pvalue"]
    table["flag_words"] = masses["flag_words"]
    return table
