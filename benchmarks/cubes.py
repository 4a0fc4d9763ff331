"""Cubes that are measured on."""

from astropy.io import fits


def header(shape):
    """Return the header of a cube (v, y, x): kelvins, a beam of three pixels, 0.1 km/s."""
    axes = (("RA---TAN", -0.003, "deg"), ("DEC--TAN", 0.003, "deg"), ("VRAD", 100.0, "m/s"))
    cards = fits.Header({"SIMPLE": True, "BITPIX": -32, "NAXIS": 3})
    cards.update({f"NAXIS{i}": n for i, n in enumerate(shape[::-1], start=1)})
    cards.update({"RESTFRQ": 110.2013543e9, "BUNIT": "K", "BMAJ": 0.009, "BMIN": 0.009, "BPA": 0.0})
    for i, ((ctype, step, unit), n) in enumerate(zip(axes, shape[::-1], strict=True), start=1):
        values = {
            "CTYPE": ctype,
            "CDELT": step,
            "CUNIT": unit,
            "CRPIX": n // 2,
            "CRVAL": 30 * (i < 3),
        }
        cards.update({f"{name}{i}": value for name, value in values.items()})
    return cards
