"""The XML of flam3, the format that flames are exchanged in."""

import os
from collections.abc import Iterable
from math import pi
from pathlib import Path
from xml.sax.saxutils import quoteattr

from stellarssl._utils.output import atomic_path
from stellarssl.exceptions import InputError, MissingInputError
from stellarssl.pretrain.fractals._math import cos, sin
from stellarssl.pretrain.fractals.genome import Camera, FlameGenome
from stellarssl.pretrain.fractals.maps import IDENTITY, FlameMap
from stellarssl.pretrain.fractals.variations import VARIATIONS

__all__ = ["from_flam3", "read_flam3", "to_flam3", "write_flam3"]

_MAP_ATTRIBUTES = {
    "weight", "color", "symmetry", "color_speed", "coefs", "post", "animate", "name", "opacity",
    "chaos", "plotmode", "enabled", "motion_frequency", "motion_function",
}  # fmt: skip
_PARAMETERS = {p.name: kind.name for kind in VARIATIONS.values() for p in kind.parameters}
_ORDER = (0, 3, 1, 4, 2, 5)  # flam3 writes columns: a d b e c f


def from_flam3(text: str) -> list[FlameGenome]:
    """Make genomes of flam3 XML.

    Parameters
    ----------
    text : str
        One ``<flame>`` or several inside any other element.

    Returns
    -------
    genomes : list of FlameGenome
        In the order of the text. Brightness, gamma and the like are not kept.

    Raises
    ------
    InputError
        If it is not such XML, if it declares entities, or if a flame uses what is not known here: a
        variation, xaos (``chaos``), motion, or an opacity between 0 and 1.
    """
    try:
        from defusedxml import DefusedXmlException, ElementTree  # noqa: PLC0415  (optional)
    except ImportError as error:
        raise MissingInputError(
            "text", "reading XML needs the package defusedxml: pip install stellarssl[pretrain]"
        ) from error
    try:
        root = ElementTree.fromstring(text, forbid_dtd=True)
    except DefusedXmlException as error:
        raise InputError(
            "text", "must not declare a document type or entities: such XML can fill the memory"
        ) from error
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError("text", f"must be flam3's XML ({error})") from error
    flames = [root] if root.tag == "flame" else root.findall(".//flame")
    if not flames:
        raise InputError("text", "must hold a <flame> element", root.tag)
    return [_read_flame(flame) for flame in flames]


def _floats(element, name: str, default: str, count: int) -> tuple[float, ...]:
    text = element.get(name, default)
    try:
        values = tuple(map(float, text.split()))
    except ValueError as error:
        raise InputError(name, f"must be {count} numbers", text) from error
    if len(values) != count:
        raise InputError(name, f"must be {count} numbers", text)
    return values


def _read_flame(flame) -> FlameGenome:
    maps = [_read_map(element) for element in flame.findall("xform")]
    for element in flame.findall("symmetry"):
        maps += _symmetry(int(_floats(element, "kind", "0", 1)[0]))
    finals = [_read_map(element) for element in flame.findall("finalxform")]
    if len(finals) > 1:
        raise InputError("finalxform", "must be there at most once", len(finals))
    width, height = _floats(flame, "size", "100 100", 2)
    zoom = 2.0 ** _floats(flame, "zoom", "0", 1)[0]
    if _floats(flame, "rotate", "0", 1)[0] % 360:
        raise InputError("rotate", "must be 0: the camera does not turn here", flame.get("rotate"))
    camera = Camera(
        (int(width), int(height)),
        _floats(flame, "center", "0 0", 2),
        _floats(flame, "scale", "50", 1)[0] * zoom,
    )
    final = finals[0] if finals else None
    return FlameGenome(tuple(maps), final, flame.get("name", ""), camera, _read_palette(flame))


def _read_map(element) -> FlameMap:
    own = set(element.keys())
    known = {name: element.get(name) for name in own & _MAP_ATTRIBUTES}
    others = {name: _floats(element, name, "", 1)[0] for name in sorted(own - _MAP_ATTRIBUTES)}
    strange = [name for name in others if name not in VARIATIONS and name not in _PARAMETERS]
    if strange:
        raise InputError("xform", f"must use known variations, not {', '.join(strange)}")
    if "chaos" in known and set(map(float, known["chaos"].split())) - {1.0}:
        raise InputError("chaos", "must be 1 throughout: xaos is not known here", known["chaos"])
    if float(known.get("opacity", 1)) != 1:
        raise InputError("opacity", "must be 1: maps are drawn in full here", known["opacity"])
    if len(element):
        raise InputError("xform", "must hold no other element: motion is not known here")
    speed = 0.5 * (1 - float(known.get("symmetry", 0)))
    variations = tuple(
        (name, weight, tuple(others.get(p.name, p.default) for p in VARIATIONS[name].parameters))
        for name, weight in others.items()
        if name in VARIATIONS and weight != 0
    )
    affine = _floats(element, "coefs", "1 0 0 1 0 0", 6)
    post = _floats(element, "post", "1 0 0 1 0 0", 6)
    return FlameMap(
        affine=tuple(affine[_ORDER.index(k)] for k in range(6)),
        variations=variations,
        weight=float(known.get("weight", 0 if element.tag == "finalxform" else 1)),
        color=_floats(element, "color", "0", 1)[0],
        color_speed=float(known.get("color_speed", speed)),
        post=tuple(post[_ORDER.index(k)] for k in range(6)),
    )


def _symmetry(kind: int) -> list[FlameMap]:
    """Return the maps of a ``<symmetry>``: turns, after a mirror if ``kind`` is negative."""
    maps = []
    if kind < 0:
        maps.append(FlameMap((-1.0, 0.0, 0.0, 0.0, 1.0, 0.0), color=1.0, color_speed=0.0))
    n = abs(kind)
    for k in range(1, n):
        c, s = cos(2 * pi * k / n), sin(2 * pi * k / n)
        color = (k - 1) / (n - 2) if n > 2 else 0.0
        maps.append(FlameMap((c, -s, 0.0, s, c, 0.0), color=color, color_speed=0.0))
    return maps


def _read_palette(flame) -> tuple:
    rows = {
        int(_floats(color, "index", "", 1)[0]): _floats(color, "rgb", "0 0 0", 3)
        for color in flame.findall("color")
    }
    palette = [tuple(value / 255 for value in rows[k]) for k in sorted(rows)]
    for element in flame.findall("palette"):
        digits = "".join((element.text or "").split())
        step = 8 if element.get("format") == "RGBA" else 6
        try:
            colors = [bytes.fromhex(digits[k : k + step])[-3:] for k in range(0, len(digits), step)]
        except ValueError as error:
            raise InputError("palette", "must be hexadecimal") from error
        palette = [tuple(value / 255 for value in color) for color in colors]
    return tuple(palette)


def read_flam3(path: str | os.PathLike) -> list[FlameGenome]:
    """Read a file of flam3's XML.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    genomes : list of FlameGenome
        See `from_flam3`, also for what is raised.
    """
    return from_flam3(Path(path).read_text())


def _write_map(flame_map: FlameMap, tag: str) -> str:
    attributes = {
        "color": repr(flame_map.color),
        "color_speed": repr(flame_map.color_speed),
        "coefs": " ".join(repr(flame_map.affine[k]) for k in _ORDER),
    }
    if tag == "xform":
        attributes = {"weight": repr(flame_map.weight)} | attributes
    if flame_map.post != IDENTITY:
        attributes["post"] = " ".join(repr(flame_map.post[k]) for k in _ORDER)
    for name, weight, own in flame_map.variations:
        attributes[name] = repr(weight)
        for parameter, value in zip(VARIATIONS[name].parameters, own, strict=True):
            attributes[parameter.name] = repr(value)
    return f"  <{tag} {' '.join(f'{k}={quoteattr(v)}' for k, v in attributes.items())}/>"


def to_flam3(genomes: Iterable[FlameGenome]) -> str:
    """Write genomes as flam3's XML.

    Parameters
    ----------
    genomes : iterable of FlameGenome
        Flames; one without a palette gets a gray one.

    Returns
    -------
    text : str
        ``<flames>`` with a ``<flame>`` for each.
    """
    lines = ["<flames>"]
    for genome in genomes:
        camera = genome.camera
        palette = genome.palette or ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        size, center = (" ".join(map(repr, pair)) for pair in (camera.size, camera.center))
        lines.append(
            f'<flame name={quoteattr(genome.name)} size="{size}" center="{center}" '
            f'scale="{camera.scale!r}">'
        )
        lines += [_write_map(flame_map, "xform") for flame_map in genome.maps]
        if genome.final is not None:
            lines.append(_write_map(genome.final, "finalxform"))
        for k in range(256):
            shade = palette[round(k * (len(palette) - 1) / 255)]
            rgb = " ".join(f"{255 * value:.6g}" for value in shade)
            lines.append(f'  <color index="{k}" rgb="{rgb}"/>')
        lines.append("</flame>")
    return "\n".join([*lines, "</flames>", ""])


def write_flam3(
    genomes: Iterable[FlameGenome], path: str | os.PathLike, *, overwrite: bool = False
) -> Path:
    """Write a file of flam3's XML.

    Parameters
    ----------
    genomes : iterable of FlameGenome
        Flames.
    path : path-like
        The file.
    overwrite : bool, optional
        Whether a file that is there may be replaced.

    Returns
    -------
    path : `~pathlib.Path`
        The file that was written.
    """
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_text(to_flam3(genomes))
    return Path(path)
