"""From the brightness of a line to a column of hydrogen nuclei.

The column is ``N_H = n_h_per_w * W`` with W the velocity-integrated main-beam temperature
[K km/s] and N_H = N(HI) + 2 N(H2). Three kinds of factor stand behind ``n_h_per_w``:

* a thin transition of a known fraction of the atoms (HI 21 cm);
* an empirical X factor (12CO, which is opaque and counts clouds rather than molecules);
* the thin LTE column of a linear molecule (`lte_column`) over its abundance relative to H2.

See :ref:`the user guide <tracers>` for when each holds.
"""

from stellarssl.tracers.lines import TRACERS
from stellarssl.tracers.lte import N_H_PER_W_UNIT, lte_column, radiation_contrast
from stellarssl.tracers.tracer import Tracer, get_tracer, line_at, tracer_frequency

__all__ = [
    "N_H_PER_W_UNIT",
    "TRACERS",
    "Tracer",
    "get_tracer",
    "line_at",
    "lte_column",
    "radiation_contrast",
    "tracer_frequency",
]
