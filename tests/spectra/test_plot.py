"""The figure of the spectra of a source."""

import numpy as np

from stellarssl.plots import plot_spectra
from stellarssl.spectra import ring_radii, source_spectra


def test_the_figure_shows_each_ring(make_hdu, gaussian, at_pixel, tmp_path):
    hdu = make_hdu(gaussian((121, 71, 71), peak=3.0, v=0.4))
    spectra = source_spectra(hdu, at_pixel(hdu, [35, 15, 500], [35, 35, 35]), distance="140 pc")
    figure = spectra.plot()
    lines, diagram = figure.axes[:2]
    assert len(lines.lines) == 9  # eight rings and the background
    np.testing.assert_array_equal(lines.lines[3].get_ydata(), spectra.spectra[0, 3].value)
    assert lines.get_title() == "1, 0.40 km/s"
    assert diagram.collections[0].get_array().shape == (8, 96)
    labels = [label.get_text() for label in diagram.get_yticklabels()]
    assert labels == [f"{radius:.3f}" for radius in ring_radii().value]
    figure.savefig(tmp_path / "spectra.png")
    for index in (1, 2):  # partly and not at all covered
        plot_spectra(spectra, index).savefig(tmp_path / f"spectra_{index}.png")
