"""Pictures of maps, masses and segments.

Each function returns a `~matplotlib.figure.Figure` that belongs to no window and changes no global
state: ``figure.savefig("moments.png")``. Colors can be told apart by the color-blind.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table
from astropy.visualization.wcsaxes import WCSAxes
from astropy.wcs import WCS
from matplotlib import colormaps
from matplotlib.colors import CenteredNorm, ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Polygon
from matplotlib.path import Path
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, StrMethodFormatter
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar
from radio_beam import Beam
from scipy import ndimage

from stellarssl.exceptions import InputError

__all__ = ["plot_comparison", "plot_masses", "plot_moments", "plot_segments", "plot_spectra"]

_CLASS_COLORS = (
    "#D55E00",
    "#0072B2",
    "#F0E442",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#E69F00",
    "#000000",
)
"""Okabe & Ito's palette, which the color-blind can tell apart."""

_MASS_LABEL = r"stellar (sink) mass [$M_\odot$]"
_HIGHEST_MASS = 8  # the library has no physics for stars above


class _Maps(Protocol):
    """Attributes of `~stellarssl.moments.MomentMaps` that are shown."""

    @property
    def moment0(self) -> u.Quantity: ...
    @property
    def v_los(self) -> u.Quantity: ...
    @property
    def sigma_v(self) -> u.Quantity: ...
    @property
    def detected(self) -> np.ndarray: ...
    @property
    def covered(self) -> np.ndarray: ...
    @property
    def beam(self) -> Beam | None: ...
    @property
    def distance(self) -> u.Quantity | None: ...
    @property
    def wcs(self) -> WCS: ...

    @property
    def tracer(self) -> object: ...
    @property
    def n_h(self) -> u.Quantity: ...
    @property
    def shape(self) -> tuple[int, int]: ...


class _Segments(Protocol):
    """Attributes of `~stellarssl.segmentation.Segmentation` that are shown."""

    @property
    def labels(self) -> np.ndarray: ...
    @property
    def components(self) -> np.ndarray: ...
    @property
    def table(self) -> Table: ...

    @property
    def rgb(self) -> np.ndarray: ...
    @property
    def rings(self) -> Mapping[int, list[np.ndarray]]: ...


class _Spectra(Protocol):
    """Attributes of `~stellarssl.spectra.SourceSpectra` that are shown."""

    @property
    def spectra(self) -> u.Quantity: ...
    @property
    def offset(self) -> u.Quantity: ...
    @property
    def background_ring(self) -> np.ndarray: ...
    @property
    def velocity(self) -> u.Quantity: ...
    @property
    def id(self) -> np.ndarray: ...

    @property
    def radius(self) -> u.Quantity: ...

    @property
    def background(self) -> u.Quantity: ...


def plot_moments(maps: _Maps) -> Figure:
    """Show column, velocity and dispersion, with beam and scale bar.

    Parameters
    ----------
    maps : `~stellarssl.moments.MomentMaps`
        Without a tracer the first panel is the integrated intensity.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        Three panels. White is observed, but nothing is detected; gray is not observed.
    """
    figure = Figure(figsize=(15, 5.2 * _aspect(maps.shape) + 0.8), layout="constrained")
    velocity, dispersion = (
        np.where(maps.detected, m.to_value(u.km / u.s), np.nan) for m in (maps.v_los, maps.sigma_v)
    )
    low, middle, high = _percentiles(velocity, 1, 50, 99)
    panels = (
        (*_column(maps), "viridis"),
        (
            velocity,
            CenteredNorm(middle, max(high - middle, middle - low, 1e-3)),
            r"$v_\mathrm{los}$ [km s$^{-1}$]",
            "RdBu_r",
        ),
        (
            dispersion,
            Normalize(*_percentiles(dispersion, 1, 99)),
            r"$\sigma_v$ [km s$^{-1}$]",
            "cividis",
        ),
    )
    for i, (image, norm, label, colors) in enumerate(panels):
        axes = _sky_axes(figure, 131 + i, maps, bare=i > 0)
        shown = axes.imshow(image, norm=norm, cmap=colors, interpolation="nearest")
        figure.colorbar(shown, ax=axes, label=label, **_COLOR_BAR)
        _furnish(axes, maps)
    return figure


def plot_masses(table: Table, maps: _Maps) -> Figure:
    """Show where the sources are on the column, and their masses with intervals.

    Parameters
    ----------
    table : `~astropy.table.QTable`
        As `~stellarssl.estimate_mass` returns it.
    maps : `~stellarssl.moments.MomentMaps`
        What it was made of.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        Map and list. Bars are 68 % (thick) and 95 % (thin) intervals. A cross is a source whose
        mass is masked, with the reason. On the map, names that would hide each other are left out.
    """
    figure = Figure(figsize=(15, max(6, 1 + 0.24 * len(table))), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.2, 1))
    axes = _sky_axes(left, 111, maps)
    image, norm, label = _column(maps)
    shown = axes.imshow(image, norm=norm, cmap="Greys", interpolation="nearest")
    left.colorbar(shown, ax=axes, label=label, **_COLOR_BAR)
    _furnish(axes, maps)
    mass, known = _values(table["mass"], u.solMass)
    x, y = maps.wcs.world_to_pixel(SkyCoord(table["skycoord"]))
    axes.plot(x[known], y[known], "o", mfc="none", mec=_CLASS_COLORS[0], mew=1.5, ms=8)
    axes.plot(x[~known], y[~known], "x", color=_CLASS_COLORS[1], mew=1.5, ms=7)
    for i in _uncrowded(x / maps.shape[1], y / maps.shape[0]):
        name = str(table["id"][i])
        axes.annotate(name, (x[i], y[i]), (6, 5), textcoords="offset points", fontsize=9, **_HALO)
    _list_masses(right.add_subplot(111), table, mass, known)
    return figure


def plot_segments(segmentation: _Segments, maps: _Maps) -> Figure:
    """Show the components as colors, and the segments outlined on the column.

    Parameters
    ----------
    segmentation : `~stellarssl.segmentation.Segmentation`
        Of these maps.
    maps : `~stellarssl.moments.MomentMaps`
        What was segmented.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        Two panels. Outlines are colored by class; the largest segments bear their ids.
    """
    if segmentation.labels.shape != maps.shape:
        rule = f"must be the maps that were segmented, of shape {segmentation.labels.shape}"
        raise InputError("maps", rule, maps.shape)
    figure = Figure(figsize=(14, 7 * _aspect(maps.shape) + 1), layout="constrained")
    axes = _sky_axes(figure, 121, maps)
    known = np.isfinite(segmentation.components).all(axis=0)
    axes.imshow(np.dstack([segmentation.rgb, known]), interpolation="nearest")
    axes.set_title("first three components, red, green, blue")
    _furnish(axes, maps)
    axes = _sky_axes(figure, 122, maps, bare=True)
    image, norm, label = _column(maps)
    shown = axes.imshow(image, norm=norm, cmap="Greys", interpolation="nearest")
    figure.colorbar(shown, ax=axes, label=label, **_COLOR_BAR)
    classes = dict(zip(segmentation.table["id"], segmentation.table["class_id"], strict=True))
    numbered = segmentation.table["n_pixels"] > 0.004 * np.prod(maps.shape)
    for name, rings in segmentation.rings.items():
        color = _CLASS_COLORS[(classes[name] - 1) % len(_CLASS_COLORS)]
        # the holes run the other way round, and so stay empty
        path = Path.make_compound_path(*(Path([*ring, ring[0]], closed=True) for ring in rings))
        axes.add_patch(PathPatch(path, facecolor=(color, 0.35), edgecolor=color, lw=1.2))
    for row in segmentation.table[numbered]:
        y, x = _inner_pixel(segmentation.labels == row["id"])
        axes.text(x, y, str(row["id"]), ha="center", va="center", fontsize=9, **_HALO)
    for class_id in sorted(set(classes.values())):
        color = _CLASS_COLORS[(class_id - 1) % len(_CLASS_COLORS)]
        axes.fill([], [], facecolor=(color, 0.35), edgecolor=color, label=f"class {class_id}")
    if classes:
        axes.legend(loc="upper left", fontsize=8)
    _furnish(axes, maps)
    return figure


def plot_comparison(table: Table, stars: Table) -> Figure:
    """Show true against estimated masses.

    Parameters
    ----------
    table : `~astropy.table.QTable`
        As `~stellarssl.estimate_mass` returns it.
    stars : `~astropy.table.Table`
        The truth: ``id``, as in ``table``, and ``mass``.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        Bars are 68 % (thick) and 95 % (thin) intervals; lines are equality and a factor of two.

    Raises
    ------
    InputError
        If no source has a known mass and a true one.
    """
    truth = dict(zip(map(str, stars["id"]), _values(stars["mass"], u.solMass)[0], strict=True))
    table = table[[str(name) in truth for name in table["id"]]]
    mass, known = _values(table["mass"], u.solMass)
    if not known.any():
        raise InputError("table", "must have a mass for at least one of the stars' ids")
    true = np.array([truth[str(name)] for name in table["id"]])
    figure = Figure(figsize=(6.2, 6), layout="constrained")
    axes = figure.add_subplot(111, aspect="equal", xscale="log", yscale="log")
    for columns, width in (
        (("mass_lower_95", "mass_upper_95"), 0.8),
        (("mass_lower", "mass_upper"), 2.5),
    ):
        low, high = (_values(table[name], u.solMass)[0][known] for name in columns)
        axes.vlines(true[known], low, high, color=_CLASS_COLORS[1], lw=width)
    axes.plot(true[known], mass[known], "o", color=_CLASS_COLORS[1], label="estimate")
    if not known.all():
        n = np.count_nonzero(~known)
        axes.plot(
            true[~known],
            np.full(n, 0.02),
            "x",
            color=_CLASS_COLORS[0],
            transform=axes.get_xaxis_transform(),
            label=f"masked ({n})",
        )
    ends = [_values(table[name], u.solMass)[0][known] for name in ("mass_lower", "mass_upper")]
    shown = np.concatenate([true, *ends])
    span = np.array([shown.min() / 1.5, shown.max() * 1.5])
    axes.plot(span, span, color="black", lw=1)
    axes.plot(
        np.stack([span, span], axis=1), np.outer(span, [0.5, 2]), color="black", lw=0.7, ls=":"
    )
    axes.set(xlim=span, ylim=span, xlabel=f"true {_MASS_LABEL}", ylabel=f"estimated {_MASS_LABEL}")
    for axis in (axes.xaxis, axes.yaxis):
        _plain_numbers(axis)
    axes.legend(loc="upper left")
    return figure


def plot_spectra(spectra: _Spectra, index: int = 0) -> Figure:
    """Show the spectra of one source in rings, and as a radius-velocity diagram.

    Parameters
    ----------
    spectra : `~stellarssl.spectra.SourceSpectra`
        Spectra of one or more sources.
    index : int, optional
        Row of the source that is shown; the first by default.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        Two panels. Left: the mean spectrum in each ring, dark for the innermost, and the
        background, dashed. Right: brightness against ring and velocity on a logarithmic scale;
        white is not covered, outside of the band, or not above zero.
    """
    figure = Figure(figsize=(13, 5), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True)
    offset = spectra.offset.to_value(u.km / u.s)
    lines = spectra.spectra[index].to_value(u.K)
    radii = [f"{radius:.3f}" for radius in spectra.radius.to_value(u.pc)]
    for line, radius, color in zip(
        lines, radii, colormaps["viridis"](np.linspace(0, 0.9, 8)), strict=True
    ):
        left.plot(offset, line, drawstyle="steps-mid", color=color, label=f"{radius} pc")
    if spectra.background_ring[index] >= 0:
        background = spectra.background[index].to_value(u.K)
        left.plot(offset, background, color="black", ls="--", lw=1, label="background")
    left.legend(fontsize=8, title="mean radius")
    velocity = spectra.velocity[index].to_value(u.km / u.s)
    left.set(ylabel="brightness temperature [K]", title=f"{spectra.id[index]}, {velocity:.2f} km/s")
    peak = np.nanmax(lines, initial=0.0)
    norm = LogNorm(1e-3 * peak, peak) if peak > 0 else LogNorm(1e-3, 1)
    positive = np.where(lines > 0, lines, np.nan)
    image = right.pcolormesh(offset, np.arange(len(radii)), positive, norm=norm, cmap="viridis")
    figure.colorbar(image, ax=right, label="brightness temperature [K]")
    right.set_yticks(range(len(radii)), radii)
    right.set(ylabel="mean radius of the ring [pc]")
    for axes in (left, right):
        axes.set_xlabel(r"velocity relative to the source [km s$^{-1}$]")
    return figure


def _list_masses(axes, table: Table, mass: np.ndarray, known: np.ndarray) -> None:  # noqa: ANN001
    """Draw masses with their intervals, a source a line."""
    rows = np.arange(len(table))
    for columns, width in (
        (("mass_lower_95", "mass_upper_95"), 0.8),
        (("mass_lower", "mass_upper"), 3),
    ):
        low, high = (_values(table[name], u.solMass)[0][known] for name in columns)
        axes.hlines(rows[known], low, high, color=_CLASS_COLORS[0], lw=width)
    axes.plot(mass[known], rows[known], "o", color=_CLASS_COLORS[0], ms=5)
    aside = {"xycoords": axes.get_yaxis_transform(), "va": "center", "fontsize": 9}
    low, high = (_values(table[name], u.solMass)[0] for name in ("mass_lower", "mass_upper"))
    for row in rows:
        if known[row]:
            below, above = mass[row] - low[row], high[row] - mass[row]
            text = f"${mass[row]:.2f}_{{-{below:.2f}}}^{{+{above:.2f}}}$"
            axes.annotate(text, (1.02, row), **aside)
        else:
            axes.plot(
                [0.03], [row], "x", color=_CLASS_COLORS[1], transform=axes.get_yaxis_transform()
            )
            words = str(table["flag_words"][row]).replace(",", ", ").replace("_", " ")
            axes.annotate(words, (0.06, row), **aside)
    axes.set(xscale="log", xlabel=_MASS_LABEL, ylabel="source", ylim=(len(table) - 0.4, -0.6))
    axes.set_yticks(rows, [str(name) for name in table["id"]], fontsize=9)
    if not known.any():
        axes.set_xlim(0.05, _HIGHEST_MASS)
    _plain_numbers(axes.xaxis)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)


_COLOR_BAR: dict[str, Any] = {
    "extend": "both",
    "location": "top",
    "pad": 0.02,
    "fraction": 0.05,
    "aspect": 30,
}
_HALO = {"path_effects": [withStroke(linewidth=2.5, foreground="white")]}


def _uncrowded(x: np.ndarray, y: np.ndarray) -> list[int]:
    """Choose points, in units of the axes, whose names do not hide each other; first come."""
    chosen: list[int] = []
    for i in range(len(x)):
        near = (np.abs(x[chosen] - x[i]) < 0.12) & (np.abs(y[chosen] - y[i]) < 0.035)
        if not near.any():
            chosen.append(i)
    return chosen


def _plain_numbers(axis) -> None:  # noqa: ANN001
    """Label a logarithmic axis with 0.1, 0.2, 0.5, 1 ..."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(StrMethodFormatter(""))


def _aspect(shape: tuple[int, int]) -> float:
    """Return height over width, within what a page bears."""
    return float(np.clip(shape[0] / shape[1], 0.3, 2))


def _percentiles(values: np.ndarray, *percentiles: float) -> np.ndarray:
    """Return percentiles of the finite values; zeros where there is none."""
    values = values[np.isfinite(values)]
    return np.percentile(values, percentiles) if values.size else np.zeros(len(percentiles))


def _values(column, unit: u.UnitBase) -> tuple[np.ndarray, np.ndarray]:  # noqa: ANN001
    """Return a column's values, NaN where it is masked, and where they are known."""
    values = u.Quantity(getattr(column, "unmasked", column), dtype=float)
    values = np.array(values.to_value(unit))
    values[np.asarray(getattr(column, "mask", np.zeros(len(values), bool)))] = np.nan
    return values, np.isfinite(values)


def _column(maps: _Maps) -> tuple[np.ndarray, Normalize, str]:
    """Return what channel 0 shows, with its range and name; NaN where nothing is detected."""
    if maps.tracer is None:
        image, label = maps.moment0.to_value(u.K * u.km / u.s), r"$\log_{10} W$ [K km s$^{-1}$]"
    else:
        image, label = maps.n_h.to_value(u.cm**-2), r"$\log_{10} N_\mathrm{H}$ [cm$^{-2}$]"
    image = np.log10(np.where(maps.detected & (image > 0), image, np.nan))
    return image, Normalize(*_percentiles(image, 1, 99.8)), label


def _sky_axes(figure, place: int, maps: _Maps, *, bare: bool = False) -> WCSAxes:  # noqa: ANN001
    """Add axes on the sky: white is observed, gray is not."""
    axes = figure.add_subplot(place, projection=maps.wcs)
    axes.imshow(maps.covered, cmap=ListedColormap(["0.8", "white"]), vmin=0, vmax=1)
    for i, name in enumerate(_axis_names(maps.wcs)):
        axes.coords[i].set_axislabel("" if bare and i == 1 else name, minpad=0.5)
        axes.coords[i].set_ticklabel_visible(not (bare and i == 1))
    return axes


def _axis_names(wcs: WCS) -> tuple[str, str]:
    """Name the axes of the sky as they are called in this frame."""
    names = {"RA": "right ascension", "DEC": "declination"}
    names |= {"GLON": "Galactic longitude", "GLAT": "Galactic latitude"}
    return tuple(names.get(kind.split("-")[0], kind.split("-")[0]) for kind in wcs.wcs.ctype)


def _furnish(axes: WCSAxes, maps: _Maps) -> None:
    """Draw the beam, and a scale bar where the distance is known."""
    ny, nx = maps.shape
    if maps.beam is not None:
        center = maps.wcs.pixel_to_world((nx - 1) / 2, (ny - 1) / 2)
        angle = np.linspace(0, 2 * np.pi, 60) * u.rad
        major, minor = maps.beam.major / 2, maps.beam.minor / 2
        radius = major * minor / np.hypot(minor * np.cos(angle), major * np.sin(angle))
        rim = center.directional_offset_by(angle + maps.beam.pa, radius)
        x, y = (axis - axis.min() for axis in maps.wcs.world_to_pixel(rim))
        ring = np.stack([x + 0.03 * nx, y + 0.03 * ny], axis=1)
        axes.add_patch(Polygon(ring, facecolor="0.5", edgecolor="black"))
    if maps.distance is not None:
        ends = maps.wcs.pixel_to_world(np.array([-0.5, 0.5]) + (nx - 1) / 2, [(ny - 1) / 2] * 2)
        pixel_pc = ends[0].separation(ends[1]).rad * maps.distance.to_value(u.pc)
        length = _round_length(nx * pixel_pc / 4)
        bar = AnchoredSizeBar(
            axes.transData,
            length / pixel_pc,
            f"{length:g} pc",
            "lower right",
            frameon=True,
            borderpad=0.6,
        )
        bar.patch.set(alpha=0.7, edgecolor="none")
        axes.add_artist(bar)


def _round_length(longest: float) -> float:
    """Return the longest of 1, 2, 5, 10 ... that fits."""
    power = 10.0 ** np.floor(np.log10(longest))
    return max(step * power for step in (1, 2, 5) if step * power <= longest)


def _inner_pixel(mask: np.ndarray) -> tuple[int, int]:
    """Return the pixel that is farthest from the rim."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    return np.unravel_index(depth.argmax(), mask.shape)
