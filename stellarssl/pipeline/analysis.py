"""Masses and segments together, and what had to be refused."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Unpack

from astropy.table import QTable

from stellarssl._utils.options import accepts
from stellarssl.cubes import CubeLike
from stellarssl.encoder import Encoder
from stellarssl.exceptions import StellarSSLError
from stellarssl.library import ReferenceLibrary
from stellarssl.moments import MomentKeywords, MomentMaps, MomentOptions
from stellarssl.pipeline.comparison import Comparison
from stellarssl.pipeline.masses import (
    as_maps,
    mass_by_window,
    mass_of_sources,
    split_distance,
    write_masses,
)
from stellarssl.pipeline.models import as_encoder, as_library
from stellarssl.pipeline.options import MassKeywords, MassOptions
from stellarssl.pipeline.positions import PositionsLike, read_sources
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
    refused : dict of StellarSSLError
        The error that prevented each missing product (``"masses"``, ``"segments"``).
    """

    maps: MomentMaps
    masses: QTable | None = None
    segmentation: Segmentation | None = None
    refused: dict[str, StellarSSLError] = field(default_factory=dict)

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
        paths = [self.maps.write(Path(directory) / "moments.fits", overwrite=overwrite)]
        if self.masses is not None:
            paths += write_masses(self.masses, directory, overwrite=overwrite)
        if self.segmentation is not None:
            paths += self.segmentation.write(directory, overwrite=overwrite)
        return paths


@accepts(MomentOptions)
def segment(
    data: CubeLike | MomentMaps,
    *,
    n_classes: int | None = None,
    library: ReferenceLibrary | str | os.PathLike | None = None,
    encoder: Encoder | str | os.PathLike | None = None,
    **options: Unpack[MomentKeywords],
) -> Segmentation:
    """Segment the gas of a cube by the principal components of the encoder's patch tokens.

    Parameters
    ----------
    data : cube or `~stellarssl.MomentMaps`
        A path, HDU, ``SpectralCube`` or `~stellarssl.Cube`; or maps, which were made with options
        of their own, so that only ``distance`` and ``progress`` can be given with them.
    n_classes : int, optional
        Number of classes of gas; by default as many as the data support.
    library : `~stellarssl.ReferenceLibrary` or path-like, optional
        Library that fixes the components, so that colors mean the same in every cube; the shipped
        one by default.
    encoder : `~stellarssl.Encoder`, str or path-like, optional
        Encoder, or its name or file; the shipped one by default.
    **options
        Options of reading and measuring.

    Returns
    -------
    segmentation : `~stellarssl.Segmentation`
        Classes and segments on the cube's own pixels.

    Raises
    ------
    InputError
        If an argument breaks a rule, or there is no column because no tracer is known.
    NoSignalError
        If nothing is detected.

    Notes
    -----
    If no distance is known, a tile is 64 pixels of the map.
    """
    checked = MomentOptions(**options).check()
    maps, _ = as_maps(data, checked)
    fixed = _embedded_for(encoder) if library is None else as_library(library)
    segmenter = PCASegmenter(as_encoder(encoder), fixed, n_classes=n_classes)
    return segmenter.segment(maps, distance=checked.distance, progress=checked.progress)


def _embedded_for(encoder: Encoder | str | os.PathLike | None) -> ReferenceLibrary:
    library = ReferenceLibrary.default()
    return library if encoder is None else library.with_tokens(as_encoder(encoder))


@accepts(MassOptions)
def analyze(
    data: CubeLike | MomentMaps,
    positions: PositionsLike | None = None,
    *,
    n_classes: int | None = None,
    **options: Unpack[MassKeywords],
) -> Analysis:
    """Make maps, masses and segments of a cube; give the reason for each that is refused.

    Parameters
    ----------
    data : cube or `~stellarssl.MomentMaps`
        As for `estimate_mass`. A cube of a line without a column formula still gives maps.
    positions : `~astropy.coordinates.SkyCoord`, `~astropy.table.Table` or path-like, optional
        Positions of the stars, as for `estimate_mass`.
    n_classes : int, optional
        Number of classes of gas, as for `segment`.
    **options
        Options of reading and measuring.

    Returns
    -------
    analysis : `Analysis`
        Maps, masses, segments, and the reasons for what was refused.

    Raises
    ------
    InputError
        If the cube cannot be read, or an argument breaks a rule.
    NoSignalError
        If nothing is detected.
    """
    checked, distance = split_distance(options)
    comparison = Comparison.of(checked)
    sources = None if positions is None else read_sources(positions)
    maps, cube = as_maps(data, checked)
    refused: dict[str, StellarSSLError] = {}
    masses = segmentation = None
    try:
        if sources is not None and sources.velocity_range is not None:
            masses = mass_by_window(data, sources, distance, comparison, checked)
        else:
            masses = mass_of_sources(maps, cube, sources, distance, comparison)
    except StellarSSLError as error:
        refused["masses"] = error
    try:
        fixed = comparison.library if isinstance(comparison.library, ReferenceLibrary) else None
        segmentation = segment(
            maps,
            n_classes=n_classes,
            library=fixed,
            encoder=checked.encoder,
            distance=checked.distance,
            progress=checked.progress,
        )
    except StellarSSLError as error:
        refused["segments"] = error
    return Analysis(maps, masses, segmentation, refused)
