"""Masses and segments together, and what had to be refused."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import astropy.units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable, Table

from stellarssl.encoder import Encoder
from stellarssl.exceptions import StellarSSLError
from stellarssl.library import ReferenceLibrary
from stellarssl.moments import MomentMaps
from stellarssl.pipeline._masses import as_maps, estimate_mass, write_masses
from stellarssl.pipeline._positions import read_sources
from stellarssl.segmentation import PCASegmenter, Segmentation

__all__ = ["Analysis", "analyze", "segment"]


@dataclass(frozen=True)
class Analysis:
    """What `analyze` makes of a cube.

    Attributes
    ----------
    maps : `~stellarssl.MomentMaps`
        N_H, v_los, sigma_v.
    masses : `~astropy.table.QTable` or None
        A row a star; None where masses had to be refused.
    segmentation : `~stellarssl.Segmentation` or None
        None where it had to be refused.
    refused : dict of str
        What is missing (``"masses"``, ``"segments"``), and why, in one sentence.
    """

    maps: MomentMaps
    masses: QTable | None = None
    segmentation: Segmentation | None = None
    refused: dict[str, str] = field(default_factory=dict)

    def write(self, directory: str | os.PathLike, *, overwrite: bool = False) -> list[Path]:
        """Write every product to a folder.

        Parameters
        ----------
        directory : path-like
            Is made if it is not there.
        overwrite : bool, optional
            Whether files that are there may be replaced.

        Returns
        -------
        paths : list of `~pathlib.Path`
            What was written: ``moments.fits``, ``masses.*``, and the segmentation's files.

        Raises
        ------
        OutputExistsError
            If one of them is there and ``overwrite`` is false.
        """
        moments = Path(directory) / "moments.fits"
        self.maps.write(moments, overwrite=overwrite)
        paths = [moments]
        if self.masses is not None:
            paths += write_masses(self.masses, directory, overwrite=overwrite)
        if self.segmentation is not None:
            paths += self.segmentation.write(directory, overwrite=overwrite)
        return paths


def segment(
    data: object,
    *,
    distance: u.Quantity | str | None = None,
    n_classes: int | None = None,
    encoder: Encoder | None = None,
    library: ReferenceLibrary | None = None,
    progress: bool = False,
) -> Segmentation:
    """Segment the gas of a cube by the principal components of the encoder's patch tokens.

    Parameters
    ----------
    data : cube or `~stellarssl.MomentMaps`
        As for `estimate_mass`.
    distance : `~astropy.units.Quantity` or str, optional
        By default the header's. Without any, a tile is 64 pixels of the map.
    n_classes : int, optional
        Kinds of gas; by default as many as the data bear.
    encoder : `~stellarssl.Encoder`, optional
        The shipped one by default.
    library : `~stellarssl.ReferenceLibrary`, optional
        Fixes the components, so that colors mean the same in every cube; the shipped one by
        default.
    progress : bool, optional
        Whether bars are shown.

    Returns
    -------
    segmentation : `~stellarssl.Segmentation`
        On the cube's own pixels.

    Raises
    ------
    InputError
        If an argument breaks a rule, or there is no column for want of a tracer.
    NoSignalError
        If nothing is detected.
    """
    maps = as_maps(data, distance=distance, progress=progress)
    library = library or _embedded_for(encoder)
    encoder = encoder or Encoder.from_pretrained()
    segmenter = PCASegmenter(encoder, library, n_classes=n_classes)
    return segmenter.segment(maps, distance=distance, progress=progress)


def _embedded_for(encoder: Encoder | None) -> ReferenceLibrary:
    library = ReferenceLibrary.default()
    return library if encoder is None else library.embed(encoder)


def analyze(
    data: object,
    positions: SkyCoord | Table | str | os.PathLike | None = None,
    *,
    distance: u.Quantity | str | None = None,
    n_classes: int | None = None,
    library: ReferenceLibrary | None = None,
    encoder: Encoder | None = None,
    progress: bool = False,
) -> Analysis:
    """Make all that can be made of a cube; what cannot is refused, with the reason.

    Parameters
    ----------
    data : cube or `~stellarssl.MomentMaps`
        As for `estimate_mass`. A cube of a line without a column formula still gives moments.
    positions, distance
        As for `estimate_mass`.
    n_classes : int, optional
        As for `segment`.
    library, encoder, progress
        As for `estimate_mass`.

    Returns
    -------
    analysis : `Analysis`
        Maps, masses, segments, and what was refused.

    Raises
    ------
    InputError
        If the cube cannot be read, or an argument breaks a rule.
    NoSignalError
        If nothing is detected.
    """
    sources = None if positions is None else read_sources(positions)
    maps = as_maps(data, distance=distance, progress=progress)
    windowed = sources is not None and sources.velocity_range is not None
    refused = {}
    masses = segmentation = None
    shared = {"distance": distance, "library": library, "encoder": encoder, "progress": progress}
    try:
        masses = estimate_mass(data if windowed else maps, sources, **shared)
    except StellarSSLError as error:
        refused["masses"] = str(error)
    try:
        segmentation = segment(maps, n_classes=n_classes, **shared)
    except StellarSSLError as error:
        refused["segments"] = str(error)
    return Analysis(maps, masses, segmentation, refused)
