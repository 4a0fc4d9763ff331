"""Simulated gas whose stars are known: what a query is compared with."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Self

import astropy.units as u
import numpy as np
from astropy.table import QTable

from stellarssl._utils.geometry import TILE_PIXEL
from stellarssl._utils.stages import stage
from stellarssl.encoder import Encoder, Features
from stellarssl.exceptions import EncoderMismatchError, InputError
from stellarssl.library import cache, fits
from stellarssl.library.inputs import labelled, stacked
from stellarssl.library.tokens import TokenStatistics, token_statistics
from stellarssl.observe import Observation, observe_maps
from stellarssl.tiles import TileStatistics, gas_mass, tile_statistics

__all__ = ["DEFAULT_BLOCKS", "N_VIEWS", "SHIPPED", "ReferenceLibrary"]

DEFAULT_BLOCKS = ("centre@0.125",)
"""Blocks of features from which masses are read: the gas within 0.016 pc of the star."""

N_VIEWS = 4
"""Number of orientations over which features are averaged, the same for library and query.

These are the quarter turns. Adding the mirror images would double the time.
"""

_WRITTEN = ("table", "maps", "statistics", "features", "tokens", "meta")
SHIPPED = Path(__file__).parents[1] / "data" / "library" / "simulations.fits"
"""File of the library that is shipped with the package."""


@dataclass(frozen=True, eq=False)
class ReferenceLibrary:
    """Maps of simulated gas, labelled with the star in it or with there being none.

    Made by `default`, `read` or `from_maps`.

    Attributes
    ----------
    table : `~astropy.table.QTable`
        A row per map: ``sim`` and ``star`` (-1 where there is none); ``group``, the name of the
        star or of the starless clump, which no split may part; ``clump``, the name of all that
        shares gas with it; ``output``, ``time``, ``axis``; ``mass`` of the sink (NaN without a
        star) and its ``age``; ``has_star``; ``depth`` of the gas along the line of sight;
        ``from_peak``, whether the tile is centered on a column peak; ``gas_mass`` in the tile.
    maps : ndarray
        float32 (n, 3, 64, 64), tiles of 0.5 pc centered on the star: log10 N_H [cm^-2], v_los
        relative to the tile's column-weighted mean and sigma_v [km/s].
    statistics : `~stellarssl.tiles.TileStatistics`
        The maps' hand-made numbers.
    features : `~stellarssl.encoder.Features` or None
        What the encoder says of them.
    tokens : TokenStatistics or None
        What that encoder's patch tokens are like over the library.
    observation : `~stellarssl.observe.Observation` or None
        The telescope that the maps are seen through; None is as simulated.
    detected : ndarray or None
        bool (n, 64, 64), where that telescope detects gas; None is everywhere.
    meta : dict
        What is told of the simulations: str, float, int or bool. As observed, it also holds
        ``simulated_sha256``, the checksum of the library before.
    """

    table: QTable
    maps: np.ndarray
    statistics: TileStatistics
    features: Features | None = None
    tokens: TokenStatistics | None = None
    observation: Observation | None = None
    detected: np.ndarray | None = None
    meta: dict = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.maps)

    def __repr__(self) -> str:
        stars = len(np.unique(self.table["group"][self.table["has_star"]]))
        return f"<ReferenceLibrary of {len(self)} maps of {stars} stars, {self.sha256[:12]}>"

    @cached_property
    def sha256(self) -> str:
        """Checksum of the maps and of what they are labelled with."""
        digest = hashlib.sha256(np.ascontiguousarray(self.maps).data)
        for name in ("group", "clump", "mass"):
            column = np.asarray(self.table[name])
            digest.update(np.char.encode(column) if column.dtype.kind == "U" else column.tobytes())
        return digest.hexdigest()

    @property
    def token_mean(self) -> np.ndarray:
        """Mean patch token at each place of the window, float32 (8, 8, d)."""
        return self._known_tokens().mean

    @property
    def token_components(self) -> np.ndarray:
        """First three principal components of patch tokens less their mean, float32 (3, d)."""
        return self._known_tokens().components

    @property
    def token_scale(self) -> np.ndarray:
        """1st and 99th percentile of each component over the library, float32 (3, 2)."""
        return self._known_tokens().scale

    def _known_tokens(self) -> TokenStatistics:
        if self.tokens is None:
            raise InputError(
                "library", "must hold token statistics: use library.with_tokens(encoder)"
            )
        return self.tokens

    # making one

    @classmethod
    def default(cls) -> "ReferenceLibrary":
        """Return the shipped library.

        Returns
        -------
        library : ReferenceLibrary
            Stars of three simulated clouds; see the user guide. Read once, its arrays read-only.
        """
        return _default(cls)

    @classmethod
    def read(cls, path: str | os.PathLike) -> Self:
        """Read a library that `write` wrote.

        Parameters
        ----------
        path : path-like
            A FITS file.

        Returns
        -------
        library : ReferenceLibrary
            As simulated.

        Raises
        ------
        InputError
            If the file is missing, truncated or something else.
        """
        return cls(**fits.read(Path(path)))

    def write(self, path: str | os.PathLike, *, overwrite: bool = False) -> Path:
        """Write the library to a FITS file; maps are rounded to 0.002 dex and 0.002 km/s.

        Parameters
        ----------
        path : path-like
            Where to.
        overwrite : bool, optional
            Whether a file that is there may be replaced.

        Returns
        -------
        path : `~pathlib.Path`
            The file that was written.

        Raises
        ------
        InputError
            If it is a library as observed: write the one as simulated.
        """
        if self.observation is not None:
            raise InputError("library", "must be as simulated, not as observed", self.observation)
        fields = {name: getattr(self, name) for name in _WRITTEN}
        fits.write(fields, Path(path), overwrite=overwrite)
        return Path(path)

    @classmethod
    def from_maps(
        cls,
        n_h: u.Quantity,
        v_los: u.Quantity,
        sigma_v: u.Quantity,
        mass: u.Quantity,
        group: Sequence,
        *,
        clump: Sequence | None = None,
        columns: dict | None = None,
        meta: dict | None = None,
    ) -> Self:
        """Make a library of one's own simulations.

        Parameters
        ----------
        n_h : `~astropy.units.Quantity`
            Columns of hydrogen nuclei, shape (n, 64, 64): tiles of 0.5 pc centered on a star, or on
            a column peak without one.
        v_los, sigma_v : `~astropy.units.Quantity`
            Column-weighted mean and standard deviation of the velocity along the line of sight,
            *without* thermal broadening, same shape.
        mass : `~astropy.units.Quantity`
            Of each map's star, shape (n,); NaN where there is none.
        group : sequence
            Which star (or starless clump) each map shows: maps of the same one, at other times or
            from other sides, share a name.
        clump : sequence, optional
            Names what shares gas: stars whose tiles overlap. The groups by default.
        columns : dict, optional
            Further columns of ``table``: ``sim`` (default ``"user"``), ``star``, ``output``,
            ``time``, ``axis``, ``age``, ``depth`` (default 0.5 pc), ``from_peak`` (default false).
        meta : dict, optional
            What shall be told of the simulations.

        Returns
        -------
        library : ReferenceLibrary
            Without features: see `embed`.

        Raises
        ------
        InputError
            If shapes, units or values are not right.

        Examples
        --------
        >>> import numpy as np, astropy.units as u
        >>> rng = np.random.default_rng(0)
        >>> n_h = 1e22 * rng.lognormal(size=(4, 64, 64)) / u.cm**2
        >>> v_los, sigma_v = rng.normal(size=(2, 4, 64, 64)) ** 2 * u.km / u.s
        >>> mass = [0.5, 0.7, 2, np.nan] * u.Msun
        >>> ReferenceLibrary.from_maps(n_h, v_los, sigma_v, mass, ["a", "a", "b", "none"])
        <ReferenceLibrary of 4 maps of 2 stars, ...>
        """
        maps = stacked(n_h, v_los, sigma_v)
        table = labelled(len(maps), mass, group, clump, columns or {})
        table["gas_mass"] = gas_mass(maps, TILE_PIXEL)
        return cls(table, maps, TileStatistics(*tile_statistics(maps)), meta=dict(meta or {}))

    # choosing rows

    def select(self, rows: np.ndarray | slice) -> Self:
        """Return the library of some rows.

        Parameters
        ----------
        rows : ndarray or slice
            Boolean, or indices.

        Returns
        -------
        library : ReferenceLibrary
            Features go along.

        Raises
        ------
        InputError
            If no row is left or ``rows`` does not fit.
        """
        try:
            index = np.atleast_1d(np.arange(len(self))[rows])
        except IndexError as error:
            raise InputError("rows", f"must index the {len(self)} rows of the library") from error
        if not len(index):
            raise InputError("rows", "must leave at least one row", 0)
        return replace(
            self,
            table=self.table[index],
            maps=self.maps[index],
            statistics=TileStatistics(self.statistics.names, self.statistics.array[index]),
            features=None if self.features is None else self.features[index],
            detected=None if self.detected is None else self.detected[index],
        )

    def exclude(self, *, sim: str | Sequence[str]) -> Self:
        """Return the library without some simulations.

        Parameters
        ----------
        sim : str or sequence of str
            Their names.

        Returns
        -------
        library : ReferenceLibrary
            The others.

        Raises
        ------
        InputError
            If there is no such simulation, or no other.
        """
        names = [sim] if isinstance(sim, str) else list(sim)
        known = np.unique(self.table["sim"])
        for name in names:
            if name not in known:
                raise InputError("sim", f"must be among {', '.join(known)}", name)
        return self.select(~np.isin(self.table["sim"], names))

    # features, and telescopes

    def embed(
        self,
        encoder: Encoder,
        *,
        blocks: Sequence[str] = DEFAULT_BLOCKS,
        progress: bool = False,
    ) -> Self:
        """Return the library with the features and token statistics of an encoder.

        Features are kept in astropy's cache folder.

        Parameters
        ----------
        encoder : `~stellarssl.encoder.Encoder`
            Encoder that computes the features, in its own dtype.
        blocks : sequence of str, optional
            Names of the blocks of features to compute (see `~stellarssl.encoder.Features`).
        progress : bool, optional
            Whether to show a progress bar.

        Returns
        -------
        library : ReferenceLibrary
            This library with new ``features``, and with ``tokens`` of the encoder.

        Raises
        ------
        InputError
            If a block does not exist.
        """
        features = _cached_features(encoder, self.maps, blocks, progress=progress)
        return replace(self.with_tokens(encoder), features=features)

    def with_tokens(self, encoder: Encoder) -> Self:
        """Return the library with the token statistics of an encoder.

        Segments need these statistics and no features.

        Parameters
        ----------
        encoder : `~stellarssl.encoder.Encoder`
            Encoder that computes the patch tokens.

        Returns
        -------
        library : ReferenceLibrary
            This library with ``tokens`` of the encoder.
        """
        if self.tokens is not None and self.tokens.encoder_sha256 == encoder.sha256:
            return self
        return replace(self, tokens=token_statistics(encoder, self.maps))

    def match_encoder(self, encoder: Encoder) -> Encoder:
        """Return an encoder that computes as the library's features were computed.

        Masses do not depend on the dtype that is chosen for the query, since both follow the
        library's.

        Parameters
        ----------
        encoder : `~stellarssl.encoder.Encoder`
            Encoder for the query.

        Returns
        -------
        encoder : `~stellarssl.encoder.Encoder`
            The same weights, computing in the dtype of ``features``.

        Raises
        ------
        EncoderMismatchError
            If the library has no features, or they were computed with other weights.
        """
        if self.features is None:
            raise EncoderMismatchError("library", "has no features; use library.embed(encoder)")
        ours = self.features.encoder_sha256
        if ours != encoder.sha256:
            rule = f"was embedded with other weights ({ours}); use library.embed(encoder)"
            raise EncoderMismatchError("library", rule, encoder.sha256)
        return encoder.astype(self.features.dtype)

    @stage("observe library")
    def observed(
        self,
        observation: Observation,
        encoder: Encoder,
        *,
        blocks: Sequence[str] = DEFAULT_BLOCKS,
        progress: bool = False,
    ) -> Self:
        """Return the library as a telescope would have observed it, with features.

        Features are kept in astropy's cache folder, so that they are computed once for all cubes
        that were observed alike.

        Parameters
        ----------
        observation : `~stellarssl.observe.Observation`
            Beam, line width and depth of the data. It is rounded to 0.1 dex, so that similar data
            share the features.
        encoder : `~stellarssl.encoder.Encoder`
            Encoder that computes the features. If the library's own features are of the same
            weights, their dtype is used, otherwise the encoder's.
        blocks : sequence of str, optional
            As for `embed`.
        progress : bool, optional
            Whether to show a progress bar.

        Returns
        -------
        library : ReferenceLibrary
            This library with new ``maps``, ``detected``, ``statistics``, ``features`` and
            ``observation``. Labels and ``tokens`` are unchanged.

        Raises
        ------
        InputError
            If this library has been observed already, or a block does not exist.
        """
        if self.observation is not None:
            raise InputError("library", "has been observed already", self.observation)
        if self.features is not None and self.features.encoder_sha256 == encoder.sha256:
            encoder = self.match_encoder(encoder)
        observation = observation.rounded()
        maps, detected = observe_maps(self.maps, observation)
        return replace(
            self,
            maps=maps,
            detected=detected,
            statistics=TileStatistics(*tile_statistics(maps, detected)),
            features=_cached_features(encoder, maps, blocks, progress=progress),
            observation=observation,
            meta=self.meta | {"simulated_sha256": self.sha256},
        )


def _cached_features(
    encoder: Encoder, maps: np.ndarray, blocks: Sequence[str], *, progress: bool
) -> Features:
    """Compute features of maps, or load them if they were computed before."""
    digest = hashlib.sha256(np.ascontiguousarray(maps).data).hexdigest()
    key = cache.key(digest, encoder.sha256, encoder.dtype, *blocks)
    features = cache.load(key)
    if features is None:
        features = encoder.embed(maps, blocks=blocks, n_views=N_VIEWS, progress=progress)
        cache.save(key, features)
    return features


@lru_cache
@stage("library")
def _default(kind: type[ReferenceLibrary]) -> ReferenceLibrary:
    library = kind.read(SHIPPED)
    for array in (library.maps, library.statistics.array, library.features.array):
        array.flags.writeable = False
    return library
