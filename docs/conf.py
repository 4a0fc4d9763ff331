"""Configuration of the documentation, on top of what all astropy packages share."""

import os
import shutil
from dataclasses import fields
from importlib.metadata import version as installed_version
from pathlib import Path

from sphinx_astropy.conf.v2 import *  # noqa: F403
from sphinx_astropy.conf.v2 import intersphinx_mapping, numpydoc_xref_ignore

import stellarssl
from stellarssl._utils.options import option_of
from stellarssl.masses.flags import FLAGS

project = "stellarssl"
author = "The stellarssl developers"
copyright = f"2026, {author}"
release = installed_version(project)
version = release

exclude_patterns = ["_build", "api/*.inc"]
html_title = project
html_static_path = ["_static"]
html_last_updated_fmt = None  # the same source gives the same pages
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": project},
    "navigation_depth": 3,
    "show_nav_level": 1,
    "show_toc_level": 2,
    "show_prev_next": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "header_links_before_dropdown": 7,
}
html_sidebars = dict.fromkeys(("getting_started", "errors", "performance", "changes"), ())
autodoc_typehints = "none"  # numpydoc's Parameters section says it, with shapes and units
numpydoc_xref_ignore |= {"path-like", "array-like", "unit-like"}
# Links into other projects' pages need their inventories, hence a network. Without one the build is
# as strict about our own names, and lets references to other projects stay plain text.
nitpicky = True
if os.environ.get("READTHEDOCS") == "True":
    intersphinx_mapping |= {
        name: (f"https://{page}/", None)
        for name, page in {
            "radio-beam": "radio-beam.readthedocs.io/en/latest",
            "regions": "astropy-regions.readthedocs.io/en/stable",
            "reproject": "reproject.readthedocs.io/en/stable",
            "sklearn": "scikit-learn.org/stable",
            "spectral-cube": "spectral-cube.readthedocs.io/en/latest",
            "torch": "docs.pytorch.org/docs/stable",
        }.items()
    }
else:
    intersphinx_mapping = {}
    elsewhere = (
        "abc|astropy|dask|lightly|lightning|matplotlib|numba|numpy|pathlib|radio_beam|regions|reproject|scipy|"
        "sklearn|spectral_cube|sys|timm|torch"
    )
    builtin = (
        "bool|bytes|dict|float|int|list|object|str|tuple|type|None|[A-Z][A-Za-z]*Error|Exception"
    )
    nitpick_ignore_regex = [(r"py:.*", rf"({elsewhere})\..*"), (r"py:.*", rf"({builtin})")]
exceptions = Path("nitpick-exceptions.txt").read_text(encoding="utf-8").splitlines()
nitpick_ignore = [tuple(line.split()) for line in exceptions if line and not line.startswith("#")]

# The table of flags is made from the registry, so that it cannot fall behind it.
lines = [
    ".. csv-table::",
    "   :header: flag, masks the mass, what it says",
    "   :widths: auto",
    "",
    *(
        f'   ``{flag.name}``, {"yes" if flag.masks else "no"}, "{flag.description}"'
        for flag in FLAGS
    ),
]
shutil.rmtree("api", ignore_errors=True)  # no page of a name that is gone
Path("api").mkdir()
Path("api/flags.inc").write_text("\n".join(lines) + "\n", encoding="utf-8")


def option_rows():
    """Yield the name, type, default and description of each option of making maps."""
    for each in fields(stellarssl.MomentOptions):
        described = option_of(each)
        yield f'   ``{each.name}``, "{described.kind}", ``{each.default!r}``, "{described.help}"'


# The table of options is made from their definitions.
lines = [
    ".. csv-table::",
    "   :header: option, type, default, description",
    "   :widths: auto",
    "",
    *option_rows(),
]
Path("api/options.inc").write_text("\n".join(lines) + "\n", encoding="utf-8")


def setup(app):
    app.connect("autodoc-process-docstring", shorten_routing)
    app.connect("missing-reference", resolve_top_level)


def shorten_routing(_app, _what, name, _obj, _options, lines):
    """Keep one line of the methods scikit-learn adds: the rest refers to its own pages."""
    if name.endswith("_request"):
        del lines[1:]


def resolve_top_level(app, env, node, contnode):
    """Send a reference to ``stellarssl.<name>`` to the module that defines the name."""
    package, _, name = node.get("reftarget", "").partition(".")
    room = stellarssl._ROOM_OF.get(name.partition(".")[0])  # noqa: SLF001
    if package != project or room is None:
        return None
    target = f"{project}.{room}.{name}"
    python = env.get_domain("py")
    return python.resolve_xref(env, node["refdoc"], app.builder, "obj", target, node, contnode)
