"""Masses and segments together, and what had to be refused."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

from astropy.table import QTable

from stellarssl._utils.options import accepts
from stellarssl.cubes import CubeLike
from stellarssl.encoder import Encoder
from stellarssl.exceptions import StellarSSLError
from stellarssl.library import ReferenceLibrary
from stellarssl.moments import MomentKeywords, MomentMaps, MomentOptions
from stellarssl.pipeline.masses import (
    as_allowed,
    as_maps,
    estimate_mass,
    split_distance,
    write_masses,
)
from stellarssl.pipeline.models import as_encoder, as_library
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
    maps = as_maps(data, checked)
    fixed = _embedded_for(encoder) if library is None else as_library(library)
    segmenter = PCASegmenter(as_encoder(encoder), fixed, n_classes=n_classes)
    return segmenter.segment(maps, distance=checked.distance, progress=checked.progress)


def _embedded_for(encoder: Encoder | str | os.PathLike | None) -> ReferenceLibrary:
    library = ReferenceLibrary.default()
    return library if encoder is None else library.with_tokens(as_encoder(encoder))


@accepts(MomentOptions)
def analyze(
    data: CubeLike | MomentMaps,
    positions: PositionsLike | None = None,
    *,
    n_classes: int | None = None,
    library: ReferenceLibrary | str | os.PathLike | None = None,
    encoder: Encoder | str | os.PathLike | None = None,
    allow: Sequence[str] = (),
    **options: Unpack[MomentKeywords],
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
    library : `~stellarssl.ReferenceLibrary` or path-like, optional
        Library for masses and segments; the shipped one by default.
    encoder : `~stellarssl.Encoder`, str or path-like, optional
        Encoder, or its name or file; the shipped one by default.
    allow : sequence of str, optional
        Flags in spite of which a mass is shown, such as ``["missing_flux"]``.
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
    given: dict[str, Any] = {
        "library": None if library is None else as_library(library),
        "encoder": None if encoder is None else as_encoder(encoder),
    }
    allowed = as_allowed(allow)
    sources = None if positions is None else read_sources(positions)
    maps = as_maps(data, checked)
    windowed = sources is not None and sources.velocity_range is not None
    with_maps: dict[str, Any] = {"progress": checked.progress}
    refused: dict[str, StellarSSLError] = {}
    masses = segmentation = None
    try:
        measured, shared = (data, checked.given()) if windowed else (maps, with_maps)
        shared = shared | {"distance": distance}
        masses = estimate_mass(measured, sources, allow=allowed, **given, **shared)
    except StellarSSLError as error:
        refused["masses"] = error
    try:
        shared = with_maps | {"distance": checked.distance}
        segmentation = segment(maps, n_classes=n_classes, **given, **shared)
    except StellarSSLError as error:
        refused["segments"] = error
    return Analysis(maps, masses, segmentation, refused)
