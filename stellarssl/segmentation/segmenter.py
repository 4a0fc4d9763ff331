"""From moment maps to segments."""

from dataclasses import dataclass, field

import astropy.units as u
import numpy as np
from astropy.wcs import WCS
from astropy.wcs.utils import pixel_to_pixel, proj_plane_pixel_area
from scipy import ndimage

from stellarssl._utils.bands import row_bands
from stellarssl._utils.geometry import beam_width
from stellarssl._utils.provenance import provenance
from stellarssl._utils.quantities import as_distance
from stellarssl._utils.stages import stage
from stellarssl.encoder import Encoder
from stellarssl.exceptions import EncoderMismatchError, InputError
from stellarssl.library import ReferenceLibrary
from stellarssl.moments import MomentMaps
from stellarssl.segmentation.classes import by_column, connected_pieces, find_classes
from stellarssl.segmentation.segmentation import Segmentation
from stellarssl.segmentation.table import segment_table
from stellarssl.segmentation.windows import WINDOW, blended_components, mirror_beyond
from stellarssl.tiles import tile_grid

__all__ = ["PCASegmenter"]


@dataclass(frozen=True, eq=False)
class PCASegmenter:
    """Segment gas by the principal components of a frozen encoder's patch tokens.

    Parameters
    ----------
    encoder : `~stellarssl.encoder.Encoder`
        Makes the tokens.
    library : `~stellarssl.library.ReferenceLibrary`
        Embedded with that encoder: holds the mean token at each place of the window, the
        components and their range.
    n_classes : int, optional
        Number of gas classes; each connected piece of a class is a segment. By default
        the smallest number, up to 8, for which pixels lie within an eighth of the library's range
        of the mean of their class (root mean square of a component).
    step : int, optional
        Between the windows shown to the encoder, in tile pixels; 20 shifts the grid of patches
        by half a patch from one window to the next. Smaller is smoother and slower.
    random_state : int, optional
        Of the clustering.

    Raises
    ------
    EncoderMismatchError
        If the library's tokens are another encoder's.
    InputError
        If the library is not embedded, or an argument breaks a rule.
    """

    encoder: Encoder
    library: ReferenceLibrary
    n_classes: int | None = field(default=None, kw_only=True)
    step: int = field(default=20, kw_only=True)
    random_state: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        n = self.n_classes
        if n is not None and (not isinstance(n, int | np.integer) or n < 1):
            raise InputError("n_classes", "must be at least 1, or None", n)
        if not 1 <= self.step <= WINDOW // 2:
            raise InputError("step", f"must be from 1 to {WINDOW // 2} pixels", self.step)
        if self.library.tokens is None:
            raise InputError(
                "library", "must hold token statistics: use library.with_tokens(encoder)"
            )
        theirs, ours = self.library.tokens.encoder_sha256, self.encoder.sha256
        if theirs != ours:
            rule = f"must hold the tokens of the encoder {self.encoder.name} ({ours[:12]})"
            raise EncoderMismatchError("library", rule, theirs[:12])

    @stage("segmentation")
    def segment(
        self,
        maps: MomentMaps,
        *,
        distance: u.Quantity | str | None = None,
        progress: bool = False,
    ) -> Segmentation:
        """Segment a map.

        Parameters
        ----------
        maps : `~stellarssl.moments.MomentMaps`
            With a tracer.
        distance : `~astropy.units.Quantity` or str, optional
            By default that of the maps. Without either, windows are 64 pixels of the map.
        progress : bool, optional
            Whether a bar is shown.

        Returns
        -------
        segmentation : Segmentation
            On the pixels of the map. Only detected pixels belong to a segment; the smallest has
            the area of a patch (8 x 8 tile pixels) or of the beam, whichever is larger.

        Raises
        ------
        MissingInputError
            If the maps have no tracer.
        """
        distance = as_distance(distance, maps.distance, required=False)
        blended, wcs = self._blended(maps, distance, progress=progress)
        components = _on_map(blended, wcs, maps)
        del blended  # here and below: what comes next takes as much again
        beam = 0.0 if maps.beam is None else (maps.beam.sr / _pixel(wcs)).decompose().value
        classes = find_classes(components, self.n_classes, self.random_state)
        classes = by_column(classes, maps.moment0.value)  # in proportion to the column
        patch = WINDOW // len(self.library.token_mean)
        smallest = max(patch**2, beam) * (_pixel(wcs) / _pixel(maps.wcs)).value
        labels = connected_pieces(classes, smallest)
        table = segment_table(labels, classes, components, maps, distance)
        table.meta |= self._record(maps, wcs, distance)
        del classes
        return Segmentation(_colors(components), labels, components, maps.wcs, table)

    def _blended(
        self, maps: MomentMaps, distance: u.Quantity | None, *, progress: bool
    ) -> tuple[np.ndarray, WCS]:
        """Compute the components on tile pixels; the maps there are let go on return."""
        grid = tile_grid(maps, distance=distance)
        tile_maps, detected, wcs = grid.maps, grid.detected, grid.wcs
        mirror_beyond(tile_maps, grid.covered)
        del grid  # what windows do not need
        blended = blended_components(
            tile_maps,
            detected,
            self.encoder,
            self.library.tokens,
            step=self.step,
            progress=progress,
        )
        return blended, wcs

    def _record(self, maps: MomentMaps, wcs: WCS, distance: u.Quantity | None) -> dict:
        """Say where the segments came from."""
        record = {}
        if maps.beam is not None:
            window = WINDOW * np.sqrt(_pixel(wcs)).to_value(u.rad)
            width = beam_width(maps.beam).to_value(u.rad)
            record["beams_per_window"] = round(float(window / width), 2)
        return record | {
            **maps.meta,
            **provenance(),
            "distance": "none: native pixels" if distance is None else str(distance),
            "tracer": maps.tracer.name,
            "encoder": self.encoder.name,
            "encoder_sha256": self.encoder.sha256,
            "library_sha256": self.library.sha256,
            "n_classes": "by tolerance" if self.n_classes is None else self.n_classes,
            "step": self.step,
            "random_state": self.random_state,
        }


def _pixel(wcs: WCS) -> u.Quantity:
    """Return the solid angle of a pixel."""
    return (proj_plane_pixel_area(wcs) * u.deg**2).to(u.sr)


def _on_map(components: np.ndarray, wcs: WCS, maps: MomentMaps) -> np.ndarray:
    """Bring components back to the pixels of the map; NaN where nothing is detected."""
    back = np.full((len(components), *maps.shape), np.nan, dtype=np.float32)
    for rows in row_bands(maps.shape):
        y, x = np.nonzero(maps.detected[rows] & np.isfinite(maps.v_los.value[rows]))
        if y.size == 0:
            continue
        at = np.stack(pixel_to_pixel(maps.wcs, wcs, x, y + rows.start)[::-1])
        on_sky = np.isfinite(at).all(axis=0)
        y, x, at = y[on_sky], x[on_sky], at[:, on_sky]
        values = [ndimage.map_coordinates(part, at, order=1, mode="nearest") for part in components]
        back[:, y + rows.start, x] = np.where(np.isfinite(values).all(axis=0), values, np.nan)
    return back


def _colors(components: np.ndarray) -> np.ndarray:
    """Show components as red, green and blue, white where there are none."""
    rgb = np.ascontiguousarray(components.transpose(1, 2, 0))
    np.fmin(rgb, 1, out=rgb)  # NaN too becomes 1
    return np.maximum(rgb, 0, out=rgb)
