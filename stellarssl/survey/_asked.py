"""What is asked of a survey: checked once for all cubes, and spelled so that like is alike."""

from importlib.metadata import version

import astropy.units as u

from stellarssl._utils.quantities import as_quantity, as_range
from stellarssl.cubes._beams import as_beam
from stellarssl.cubes._headers import parse_brightness
from stellarssl.cubes._sources import check_hdu
from stellarssl.moments.options import as_efficiency
from stellarssl.pipeline import Sources
from stellarssl.survey._catalog import digest
from stellarssl.survey._models import Models
from stellarssl.tracers import get_tracer

__all__ = ["asked_for", "spelled"]

_ANY_LINE = "13CO"
"""Stands for a line that is not known yet: it takes a temperature and an abundance."""

_QUANTITIES = {
    "distance": u.pc,
    "excitation_temperature": u.K,
    "max_recoverable_scale": u.arcsec,
}


def spelled(options: dict) -> dict[str, object]:
    """Check options, and write them so that like is alike: quantities in one unit, all as JSON.

    Parameters
    ----------
    options : dict
        Of `~stellarssl.moment_maps` and `~stellarssl.segment`, the same for all cubes.

    Returns
    -------
    plain : dict
        Strings, numbers and None.

    Raises
    ------
    InputError
        If one of them could suit no cube.
    """
    read = {
        "velocity_range": as_range("velocity_range", options["velocity_range"], u.km / u.s),
        "beam": as_beam(options["beam"]),
        "rest_value": as_quantity(
            "rest_value", options["rest_value"], u.GHz, scalar=True, equivalencies=u.spectral()
        ),
    }
    for name, unit in _QUANTITIES.items():
        read[name] = as_quantity(name, options[name], unit, scalar=True)
    unit = scale = None
    if options["unit"] is not None:
        unit, scale, _ = parse_brightness(str(options["unit"]))
        read["unit"] = str(unit) if scale is None else f"{unit} ({scale})"
    if options["efficiency"] is not None:
        as_efficiency(options["efficiency"], unit, scale)
    check_hdu(options["hdu"])
    _check_tracer(**options)
    return {
        name: value if value is None or isinstance(value, int | float) else str(value)
        for name, value in (options | read).items()
    }


def _check_tracer(
    tracer: object,
    rest_value: object,
    excitation_temperature: object,
    abundance: object,
    **_: object,
) -> None:
    """Check what does not depend on the line of a cube."""
    if isinstance(tracer, str) and tracer.strip().lower() == "auto":
        tracer, rest_value = _ANY_LINE, None
    get_tracer(
        tracer,
        rest_value=rest_value,
        excitation_temperature=excitation_temperature,
        abundance=abundance,
    )


def asked_for(plain: dict, sources: Sources | None, models: Models) -> dict:
    """Return what must be the same when a survey goes on.

    Parameters
    ----------
    plain : dict
        Of `spelled`.
    sources : `~stellarssl.pipeline.Sources` or None
        The catalog.
    models : `Models`
        Weights and library.

    Returns
    -------
    asked : dict of str, float or None
        One entry a thing.
    """
    return plain | {
        "positions": None if sources is None else f"catalog {digest(sources)[:12]}",
        "encoder": f"weights {models.encoder_sha256[:12]}",
        "library": f"library {models.library_sha256[:12]}",
        "stellarssl": version("stellarssl"),
    }
