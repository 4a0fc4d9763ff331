"""Variations that came after Draves & Reckase's paper, as flam3's users know them."""
# ruff: noqa: ARG001

from math import pi, sqrt

from stellarssl.pretrain.fractals._blocks import variation
from stellarssl.pretrain.fractals._math import (
    atan2,
    cos,
    cosh,
    exp,
    floor,
    hypot,
    log,
    sin,
    sinh,
    tan,
)  # fmt: skip

__all__: list[str] = []

_TINY = 1e-10


@variation(disc2_rot=(0.0, -2.0, 2.0), disc2_twist=(0.0, -3.0, 3.0))
def disc2(x, y, w, p):
    angle, share = p[6] * pi * (x + y), atan2(x, y) / pi
    beyond = max(p[7] - 2 * pi, 0.0) + min(p[7] + 2 * pi, 0.0)
    c, s = (cos(p[7]) - 1) * (1 + beyond), sin(p[7]) * (1 + beyond)
    return share * (sin(angle) + c), share * (cos(angle) + s)


@variation(bent2_x=(1.0, -1.5, 1.5), bent2_y=(1.0, -1.5, 1.5))
def bent2(x, y, w, p):
    return (x if x >= 0 else p[6] * x), (y if y >= 0 else p[7] * y)


@variation(bipolar_shift=(0.0, -1.0, 1.0))
def bipolar(x, y, w, p):
    r2 = x * x + y * y
    angle = 0.5 * atan2(2 * y, r2 - 1) - 0.5 * pi * p[6]
    high, low = angle + pi / 2, pi / 2 - angle
    wrapped = (
        high - pi * floor(high / pi) - pi / 2 if angle > 0 else pi / 2 - low + pi * floor(low / pi)
    )
    angle = wrapped if abs(angle) > pi / 2 else angle
    ratio = (r2 + 1 + 2 * x) / (r2 + 1 - 2 * x + 1e-300)
    return 0.5 / pi * log(ratio), 2 / pi * angle


@variation()
def butterfly(x, y, w, p):
    s = 1.3029400317411198 * sqrt(abs(x * y) / (_TINY + x * x + 4 * y * y))
    return s * x, 2 * s * y


@variation(cell_size=(1.0, 0.3, 1.5))
def cell(x, y, w, p):
    i, j = floor(x / p[6]), floor(y / p[6])
    dx, dy = x - i * p[6], y - j * p[6]
    i = 2 * i if i >= 0 else -(2 * i + 1)
    j = 2 * j if j >= 0 else -(2 * j + 1)
    return dx + i * p[6], -(dy + j * p[6])


@variation(
    curve_xamp=(0.0, -1.0, 1.0),
    curve_yamp=(0.0, -1.0, 1.0),
    curve_xlength=(1.0, 0.5, 2.0),
    curve_ylength=(1.0, 0.5, 2.0),
)
def curve(x, y, w, p):
    a, b = max(p[8] * p[8], 1e-20), max(p[9] * p[9], 1e-20)
    return x + p[6] * exp(-y * y / a), y + p[7] * exp(-x * x / b)


@variation()
def edisc(x, y, w, p):
    t = x * x + y * y + 1
    high = 0.5 * (sqrt(t + 2 * x) + sqrt(max(t - 2 * x, 0.0)))
    a = log(high + sqrt(max(high - 1, 0.0)))
    share = min(max(x / high, -1.0), 1.0)
    b = -atan2(sqrt(1 - share * share), share)
    s = sin(a) if y <= 0 else -sin(a)
    return cosh(b) * cos(a) / 11.57034632, sinh(b) * s / 11.57034632


@variation()
def elliptic(x, y, w, p):
    t = x * x + y * y + 1
    high = 0.5 * (sqrt(t + 2 * x) + sqrt(max(t - 2 * x, 0.0)))
    share = x / high
    a = atan2(share, sqrt(max(1 - share * share, 0.0)))
    b = log(high + sqrt(max(high - 1, 0.0)))
    return 2 / pi * a, 2 / pi * (b if y > 0 else -b)


@variation(escher_beta=(0.0, -1.5, 1.5))
def escher(x, y, w, p):
    phi, ln_r = atan2(y, x), 0.5 * log(x * x + y * y)
    c, d = 0.5 + 0.5 * cos(p[6]), 0.5 * sin(p[6])
    m, angle = exp(c * ln_r - d * phi), c * phi + d * ln_r
    return m * cos(angle), m * sin(angle)


@variation()
def foci(x, y, w, p):
    e = 0.5 * exp(x)
    inverse = 0.25 / e
    s = 1 / (e + inverse - cos(y))
    return s * (e - inverse), s * sin(y)


@variation(
    lazysusan_spin=(0.0, -3.0, 3.0),
    lazysusan_space=(0.0, -0.5, 0.5),
    lazysusan_twist=(0.0, -2.0, 2.0),
    lazysusan_x=(0.0, -0.3, 0.3),
    lazysusan_y=(0.0, -0.3, 0.3),
)
def lazysusan(x, y, w, p):
    x, y = x - p[9], y + p[10]
    r = hypot(x, y)
    angle = atan2(y, x) + p[6] + p[8] * (w - r)
    s = 1 + p[7] / (r + 1e-300)
    a, b = (r * cos(angle), r * sin(angle)) if r < w else (s * x, s * y)
    return a + p[9] / w, b - p[10] / w


@variation()
def loonie(x, y, w, p):
    r2, w2 = x * x + y * y, w * w
    s = sqrt(w2 / (r2 + 1e-300) - 1) if r2 < w2 else 1.0
    return s * x, s * y


@variation(modulus_x=(0.0, 0.3, 1.5), modulus_y=(0.0, 0.3, 1.5))
def modulus(x, y, w, p):
    a, b = p[6], p[7]
    u = x + a - 2 * a * floor((x + a) / (2 * a)) - a if abs(x) > a else x
    v = y + b - 2 * b * floor((y + b) / (2 * b)) - b if abs(y) > b else y
    return u, v


@variation(
    oscope_separation=(1.0, 0.2, 1.0),
    oscope_frequency=(pi, 0.5, 4.0),
    oscope_amplitude=(1.0, 0.3, 1.5),
    oscope_damping=(0.0, 0.0, 1.0),
)
def oscilloscope(x, y, w, p):
    t = p[8] * exp(-abs(x) * p[9]) * cos(2 * pi * p[7] * x) + p[6]
    return x, (-y if abs(y) <= t else y)


@variation()
def polar2(x, y, w, p):
    return atan2(x, y) / pi, 0.5 / pi * log(x * x + y * y)


@variation(popcorn2_x=(0.0, -1.0, 1.0), popcorn2_y=(0.0, -1.0, 1.0), popcorn2_c=(0.0, 1.0, 4.0))
def popcorn2(x, y, w, p):
    return x + p[6] * sin(tan(y * p[8])), y + p[7] * sin(tan(x * p[8]))


@variation()
def scry(x, y, w, p):
    r2 = x * x + y * y
    s = 1 / (sqrt(r2) * (r2 + 1 / (w + _TINY)) + 1e-300) / w
    return s * x, s * y


@variation(
    separation_x=(0.0, 0.0, 1.0),
    separation_xinside=(0.0, -1.0, 1.0),
    separation_y=(0.0, 0.0, 1.0),
    separation_yinside=(0.0, -1.0, 1.0),
)
def separation(x, y, w, p):
    a, b = sqrt(x * x + p[6] * p[6]), sqrt(y * y + p[8] * p[8])
    return (a if x > 0 else -a) - x * p[7], (b if y > 0 else -b) - y * p[9]


@variation(split_xsize=(0.0, 0.3, 2.0), split_ysize=(0.0, 0.3, 2.0))
def split(x, y, w, p):
    return (
        x if cos(y * p[7] * pi) >= 0 else -x,
        y if cos(x * p[6] * pi) >= 0 else -y,
    )


@variation(splits_x=(0.0, -1.0, 1.0), splits_y=(0.0, -1.0, 1.0))
def splits(x, y, w, p):
    return (x + p[6] if x >= 0 else x - p[6]), (y + p[7] if y >= 0 else y - p[7])


@variation(stripes_space=(0.0, -0.5, 0.9), stripes_warp=(0.0, -2.0, 2.0))
def stripes(x, y, w, p):
    i = floor(x + 0.5)
    d = x - i
    return d * (1 - p[6]) + i, y + d * d * p[7]


@variation(
    wedge_angle=(0.0, -1.5, 1.5),
    wedge_hole=(0.0, -0.5, 0.5),
    wedge_count=(1.0, 1.0, 5.0, True),
    wedge_swirl=(0.0, -1.0, 1.0),
)
def wedge(x, y, w, p):
    r = hypot(x, y)
    angle = atan2(y, x) + p[9] * r
    sector = floor((p[8] * angle + pi) / (2 * pi))
    angle = angle * (1 - p[6] * p[8] / (2 * pi)) + sector * p[6]
    return (r + p[7]) * cos(angle), (r + p[7]) * sin(angle)


@variation(
    wedge_sph_angle=(0.0, -1.5, 1.5),
    wedge_sph_count=(1.0, 1.0, 5.0, True),
    wedge_sph_hole=(0.0, -0.5, 0.5),
    wedge_sph_swirl=(0.0, -1.0, 1.0),
)
def wedge_sph(x, y, w, p):
    r = 1 / (hypot(x, y) + _TINY)
    angle = atan2(y, x) + p[9] * r
    sector = floor((p[7] * angle + pi) / (2 * pi))
    angle = angle * (1 - p[6] * p[7] / (2 * pi)) + sector * p[6]
    return (r + p[8]) * cos(angle), (r + p[8]) * sin(angle)


@variation(whorl_inside=(0.0, -1.0, 1.0), whorl_outside=(0.0, -1.0, 1.0))
def whorl(x, y, w, p):
    r = hypot(x, y)
    angle = atan2(y, x) + (p[6] if r < w else p[7]) / (w - r)
    return r * cos(angle), r * sin(angle)


@variation(
    waves2_freqx=(0.0, 0.5, 4.0),
    waves2_scalex=(0.0, -0.8, 0.8),
    waves2_freqy=(0.0, 0.5, 4.0),
    waves2_scaley=(0.0, -0.8, 0.8),
)
def waves2(x, y, w, p):
    return x + p[7] * sin(y * p[6]), y + p[9] * sin(x * p[8])


@variation()
def exp_(x, y, w, p):
    e = exp(x)
    return e * cos(y), e * sin(y)


@variation()
def log_(x, y, w, p):
    return 0.5 * log(x * x + y * y), atan2(y, x)


@variation()
def sin_(x, y, w, p):
    return sin(x) * cosh(y), cos(x) * sinh(y)


@variation()
def cos_(x, y, w, p):
    return cos(x) * cosh(y), -sin(x) * sinh(y)


@variation()
def tan_(x, y, w, p):
    s = 1 / (cos(2 * x) + cosh(2 * y))
    return s * sin(2 * x), s * sinh(2 * y)


@variation()
def sec(x, y, w, p):
    s = 2 / (cos(2 * x) + cosh(2 * y))
    return s * cos(x) * cosh(y), s * sin(x) * sinh(y)


@variation()
def csc(x, y, w, p):
    s = 2 / (cosh(2 * y) - cos(2 * x))
    return s * sin(x) * cosh(y), -s * cos(x) * sinh(y)


@variation()
def cot(x, y, w, p):
    s = 1 / (cosh(2 * y) - cos(2 * x))
    return s * sin(2 * x), -s * sinh(2 * y)


@variation()
def sinh_(x, y, w, p):
    return sinh(x) * cos(y), cosh(x) * sin(y)


@variation()
def cosh_(x, y, w, p):
    return cosh(x) * cos(y), sinh(x) * sin(y)


@variation()
def tanh(x, y, w, p):
    s = 1 / (cos(2 * y) + cosh(2 * x))
    return s * sinh(2 * x), s * sin(2 * y)


@variation()
def sech(x, y, w, p):
    s = 2 / (cos(2 * y) + cosh(2 * x))
    return s * cos(y) * cosh(x), -s * sin(y) * sinh(x)


@variation()
def csch(x, y, w, p):
    s = 2 / (cosh(2 * x) - cos(2 * y))
    return s * sinh(x) * cos(y), -s * cosh(x) * sin(y)


@variation()
def coth(x, y, w, p):
    s = 1 / (cosh(2 * x) - cos(2 * y))
    return s * sinh(2 * x), s * sin(2 * y)


@variation(
    auger_sym=(0.0, 0.0, 1.0),
    auger_weight=(0.5, 0.2, 0.8),
    auger_freq=(1.0, 0.5, 4.0),
    auger_scale=(0.1, 0.0, 0.5),
)
def auger(x, y, w, p):
    s, t = sin(p[8] * x), sin(p[8] * y)
    dy = y + p[7] * (0.5 * p[9] * s + abs(y) * s)
    dx = x + p[7] * (0.5 * p[9] * t + abs(x) * t)
    return x + p[6] * (dx - x), dy


@variation(flux_spread=(0.0, -0.5, 0.5))
def flux(x, y, w, p):
    r = (2 + p[6]) * sqrt(hypot(y, x + w) / (hypot(y, x - w) + 1e-300))
    angle = 0.5 * (atan2(y, x - w) - atan2(y, x + w))
    return r * cos(angle), r * sin(angle)


@variation(
    mobius_re_a=(0.0, -1.0, 1.0),
    mobius_im_a=(0.0, -1.0, 1.0),
    mobius_re_b=(0.0, -1.0, 1.0),
    mobius_im_b=(0.0, -1.0, 1.0),
    mobius_re_c=(0.0, -1.0, 1.0),
    mobius_im_c=(0.0, -1.0, 1.0),
    mobius_re_d=(0.0, -1.0, 1.0),
    mobius_im_d=(0.0, -1.0, 1.0),
)
def mobius(x, y, w, p):
    re_u, im_u = p[6] * x - p[7] * y + p[8], p[6] * y + p[7] * x + p[9]
    re_v, im_v = p[10] * x - p[11] * y + p[12], p[10] * y + p[11] * x + p[13]
    s = 1 / (re_v * re_v + im_v * im_v)
    return (re_u * re_v + im_u * im_v) * s, (im_u * re_v - re_u * im_v) * s
