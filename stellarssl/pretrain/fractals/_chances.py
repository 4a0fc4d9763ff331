"""Variations that draw random numbers: those of Draves & Reckase, and of flam3 after them.

The numbers u0 ... u4 are uniform in [0, 1).
"""
# ruff: noqa: ARG001

from math import pi

from stellarssl.pretrain.fractals._blocks import variation
from stellarssl.pretrain.fractals._math import (
    atan2,
    cos,
    exp,
    floor,
    hypot,
    log,
    power,
    sin,
    tan,
    trunc,
)  # fmt: skip

__all__: list[str] = []

_TINY = 1e-10
_LOG_10 = 2.302585092994046


@variation(1)
def julia(x, y, w, p, u0, u1, u2, u3, u4):
    r, angle = power(x * x + y * y, 0.25), 0.5 * atan2(x, y) + (pi if u0 >= 0.5 else 0.0)
    return r * cos(angle), r * sin(angle)


@variation(2)
def noise(x, y, w, p, u0, u1, u2, u3, u4):
    return x * u1 * cos(2 * pi * u0), y * u1 * sin(2 * pi * u0)


@variation(1, julian_power=(1.0, 2.0, 5.0, True), julian_dist=(1.0, 0.5, 1.5))
def julian(x, y, w, p, u0, u1, u2, u3, u4):
    angle = (atan2(y, x) + 2 * pi * trunc(abs(p[6]) * u0)) / p[6]
    r = power(x * x + y * y, 0.5 * p[7] / p[6])
    return r * cos(angle), r * sin(angle)


@variation(1, juliascope_power=(1.0, 2.0, 5.0, True), juliascope_dist=(1.0, 0.5, 1.5))
def juliascope(x, y, w, p, u0, u1, u2, u3, u4):
    turn = trunc(abs(p[6]) * u0)
    odd = turn - 2 * floor(turn / 2) != 0
    phi = atan2(y, x)
    angle = (2 * pi * turn + (-phi if odd else phi)) / p[6]
    r = power(x * x + y * y, 0.5 * p[7] / p[6])
    return r * cos(angle), r * sin(angle)


@variation(2)
def blur(x, y, w, p, u0, u1, u2, u3, u4):
    return u1 * cos(2 * pi * u0), u1 * sin(2 * pi * u0)


@variation(5)
def gaussian_blur(x, y, w, p, u0, u1, u2, u3, u4):
    r = u1 + u2 + u3 + u4 - 2
    return r * cos(2 * pi * u0), r * sin(2 * pi * u0)


@variation(4, radial_blur_angle=(0.0, 0.0, 1.0))
def radial_blur(x, y, w, p, u0, u1, u2, u3, u4):
    g, angle = w * (u0 + u1 + u2 + u3 - 2), 0.5 * pi * p[6]
    r, turned, zoom = hypot(x, y), atan2(y, x) + g * sin(angle), g * cos(angle) - 1
    return (r * cos(turned) + zoom * x) / w, (r * sin(turned) + zoom * y) / w


@variation(
    3,
    pie_slices=(6.0, 2.0, 8.0, True),
    pie_rotation=(0.0, -3.0, 3.0),
    pie_thickness=(0.5, 0.2, 0.8),
)
def pie(x, y, w, p, u0, u1, u2, u3, u4):
    angle = p[7] + 2 * pi * (trunc(u0 * p[6] + 0.5) + u1 * p[8]) / p[6]
    return u2 * cos(angle), u2 * sin(angle)


@variation(1)
def arch(x, y, w, p, u0, u1, u2, u3, u4):
    s, c = sin(pi * w * u0), cos(pi * w * u0)
    return s, s * s / c


@variation(2)
def square(x, y, w, p, u0, u1, u2, u3, u4):
    return u0 - 0.5, u1 - 0.5


@variation(1)
def rays(x, y, w, p, u0, u1, u2, u3, u4):
    t = w * tan(pi * w * u0) / (x * x + y * y + _TINY)
    return t * cos(x), t * sin(y)


@variation(1)
def blade(x, y, w, p, u0, u1, u2, u3, u4):
    r = w * u0 * hypot(x, y)
    s, c = sin(r), cos(r)
    return x * (c + s), x * (c - s)


@variation(1)
def twintrian(x, y, w, p, u0, u1, u2, u3, u4):
    r = w * u0 * hypot(x, y)
    s, c = sin(r), cos(r)
    t = log(s * s) / _LOG_10 + c
    t = max(t, -30.0)
    return x * t, x * (t - pi * s)


@variation(
    1,
    super_shape_rnd=(0.0, 0.0, 1.0),
    super_shape_m=(0.0, 1.0, 8.0, True),
    super_shape_n1=(1.0, 0.5, 4.0),
    super_shape_n2=(1.0, 0.5, 4.0),
    super_shape_n3=(1.0, 0.5, 4.0),
    super_shape_holes=(0.0, -0.5, 0.5),
)
def super_shape(x, y, w, p, u0, u1, u2, u3, u4):
    r, angle = hypot(x, y), 0.25 * (p[7] * atan2(y, x) + pi)
    t = power(abs(cos(angle)), p[9]) + power(abs(sin(angle)), p[10])
    s = (p[6] * u0 + (1 - p[6]) * r - p[11]) * power(t, -1 / p[8]) / (r + 1e-300)
    return s * x, s * y


@variation(1, flower_petals=(0.0, 2.0, 7.0, True), flower_holes=(0.0, 0.0, 0.5))
def flower(x, y, w, p, u0, u1, u2, u3, u4):
    s = (u0 - p[7]) * cos(p[6] * atan2(y, x)) / (hypot(x, y) + 1e-300)
    return s * x, s * y


@variation(1, conic_eccentricity=(1.0, 0.3, 1.5), conic_holes=(0.0, 0.0, 0.5))
def conic(x, y, w, p, u0, u1, u2, u3, u4):
    r = hypot(x, y) + 1e-300
    s = (u0 - p[7]) * p[6] / (1 + p[6] * x / r) / r
    return s * x, s * y


@variation(2, parabola_height=(0.0, 0.5, 1.5), parabola_width=(0.0, 0.5, 1.5))
def parabola(x, y, w, p, u0, u1, u2, u3, u4):
    r = hypot(x, y)
    s, c = sin(r), cos(r)
    return p[6] * s * s * u0, p[7] * c * u1


@variation(1)
def boarders(x, y, w, p, u0, u1, u2, u3, u4):
    a, b = floor(x + 0.5), floor(y + 0.5)
    dx, dy = x - a, y - b
    wide, right, up = abs(dx) >= abs(dy), dx >= 0, dy >= 0
    step_x, step_y = (0.25 if right else -0.25), (0.25 if up else -0.25)
    side_x = step_x if wide else step_y * dx / dy
    side_y = step_x * dy / dx if wide else step_y
    keep = u0 >= 0.75
    return 0.5 * dx + a + (0.0 if keep else side_x), 0.5 * dy + b + (0.0 if keep else side_y)


@variation(1, cpow_r=(1.0, 0.5, 1.5), cpow_i=(0.0, -0.5, 0.5), cpow_power=(1.0, 1.0, 5.0, True))
def cpow(x, y, w, p, u0, u1, u2, u3, u4):
    phi, ln_r = atan2(y, x), 0.5 * log(x * x + y * y)
    c, d = p[6] / p[8], p[7] / p[8]
    angle = c * phi + d * ln_r + 2 * pi / p[8] * floor(p[8] * u0)
    m = exp(c * ln_r - d * phi)
    return m * cos(angle), m * sin(angle)


@variation(
    1,
    wedge_julia_angle=(0.0, -1.0, 1.0),
    wedge_julia_count=(1.0, 1.0, 5.0, True),
    wedge_julia_power=(1.0, 1.0, 4.0, True),
    wedge_julia_dist=(0.0, 0.5, 1.5),
)
def wedge_julia(x, y, w, p, u0, u1, u2, u3, u4):
    angle = (atan2(y, x) + 2 * pi * trunc(abs(p[8]) * u0)) / p[8]
    sector = floor((p[7] * angle + pi) / (2 * pi))
    angle = angle * (1 - p[6] * p[7] / (2 * pi)) + sector * p[6]
    r = power(x * x + y * y, 0.5 * p[9] / p[8])
    return r * cos(angle), r * sin(angle)
