"""`MassOptions`: how masses are estimated, beside how a cube is read and measured."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stellarssl._utils.options import option
from stellarssl.encoder import Encoder
from stellarssl.exceptions import InputError
from stellarssl.library import PPVTiles, ReferenceLibrary
from stellarssl.masses import READERS, flag_bit
from stellarssl.masses.weights import Prior, check_prior
from stellarssl.moments import MomentKeywords, MomentOptions

__all__ = ["MassKeywords", "MassOptions"]


class MassKeywords(MomentKeywords, total=False):
    """Types of the keywords that `MassOptions` describes, for type checkers."""

    reader: str
    prior: Prior
    library: PPVTiles | ReferenceLibrary | str | os.PathLike | None
    encoder: Encoder | str | os.PathLike | None
    allow: Sequence[str]


def _parse_reader(reader: object) -> object:
    if reader not in READERS:
        raise InputError("reader", f"must be one of {', '.join(READERS)}", reader)
    return reader


def _parse_prior(prior: Any) -> Any:
    check_prior(prior)
    return prior


def _parse_allow(allow: object) -> tuple[str, ...]:
    """Check the flags in spite of which masses are shown."""
    if isinstance(allow, str) or not isinstance(allow, Sequence):
        raise InputError("allow", "must be a sequence of flag words", allow)
    for word in allow:
        try:
            flag_bit(word)
        except InputError as error:
            raise InputError("allow", error.rule, word) from error
    return tuple(allow)


def _any(value: object) -> object:
    """Return a value that is checked when it is loaded."""
    return value


@dataclass(frozen=True, kw_only=True, eq=False)
class MassOptions(MomentOptions):
    """How `estimate_mass` reads and measures a cube, and reads masses off a library.

    The fields, with their types, units and defaults, are listed under :ref:`options`.

    Examples
    --------
    >>> MassOptions(reader="knn", distance="288 pc").check().reader
    'knn'
    """

    reader: str = option(
        '{"forest", "knn"}',
        "How masses are read off the library: by extremely randomized trees on ring statistics and "
        "spectra; or, as in the paper, by the five nearest stars among the features of the encoder",
        default="forest",
        example="knn",
        parse=_parse_reader,
    )
    prior: Prior = option(
        '{"library", "flat"} or callable',
        "Prior on log mass: the distribution of the library, constant from 0.1 to 8 solar masses, "
        "or a function of log10 of the mass in solar masses that returns a density",
        default="library",
        example="flat",
        parse=_parse_prior,
        canonical=lambda prior: prior if isinstance(prior, str) else "user",
    )
    library: PPVTiles | ReferenceLibrary | str | os.PathLike | None = option(
        "`~stellarssl.library.PPVTiles`, `~stellarssl.ReferenceLibrary` or path-like",
        "Simulated stars to use instead of the shipped ones; a `~stellarssl.ReferenceLibrary` "
        "holds maps without spectra",
        example="library.fits",
        parse=_any,
    )
    encoder: Encoder | str | os.PathLike | None = option(
        "`~stellarssl.Encoder`, str or path-like",
        "Encoder of segments and of the reader 'knn', its name or its .safetensors file, to use "
        "instead of the shipped one",
        example="flames-dev",
        parse=_any,
    )
    allow: Sequence[str] = option(
        "sequence of str",
        "Flags in spite of which a mass is shown, such as ['missing_flux']",
        default=(),
        example="missing_flux",
        parse=_parse_allow,
        canonical=", ".join,
    )
