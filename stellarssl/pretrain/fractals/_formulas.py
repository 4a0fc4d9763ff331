"""The variations of Draves & Reckase, "The Fractal Flame Algorithm" (2003), without chance.

Each takes the affinely mapped point (x, y), its own weight w and the numbers p: the affine
coefficients a ... f, then the variation's parameters. The paper's theta is the angle from the y
axis, phi that from the x axis.
"""
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
    sin,
    sinh,
    tan,
    trunc,
)  # fmt: skip
from stellarssl.pretrain.fractals._math import (
    power as raise_to,
)

__all__ = ["TINY"]

TINY = 1e-10
"""Added to what is divided by."""


@variation()
def linear(x, y, w, p):
    return x, y


@variation()
def sinusoidal(x, y, w, p):
    return sin(x), sin(y)


@variation()
def spherical(x, y, w, p):
    s = 1 / (x * x + y * y + TINY)
    return x * s, y * s


@variation()
def swirl(x, y, w, p):
    r2 = x * x + y * y
    s, c = sin(r2), cos(r2)
    return s * x - c * y, c * x + s * y


@variation()
def horseshoe(x, y, w, p):
    r = hypot(x, y) + TINY
    return (x - y) * (x + y) / r, 2 * x * y / r


@variation()
def polar(x, y, w, p):
    return atan2(x, y) / pi, hypot(x, y) - 1


@variation()
def handkerchief(x, y, w, p):
    r, theta = hypot(x, y), atan2(x, y)
    return r * sin(theta + r), r * cos(theta - r)


@variation()
def heart(x, y, w, p):
    r = hypot(x, y)
    angle = r * atan2(x, y)
    return r * sin(angle), -r * cos(angle)


@variation()
def disc(x, y, w, p):
    share, r = atan2(x, y) / pi, pi * hypot(x, y)
    return share * sin(r), share * cos(r)


@variation()
def spiral(x, y, w, p):
    r = hypot(x, y) + TINY
    return (y / r + sin(r)) / r, (x / r - cos(r)) / r


@variation()
def hyperbolic(x, y, w, p):
    r = hypot(x, y) + TINY
    return x / (r * r), y


@variation()
def diamond(x, y, w, p):
    r = hypot(x, y)
    s = 1 / (r + 1e-300)
    return x * s * cos(r), y * s * sin(r)


@variation()
def ex(x, y, w, p):
    r, theta = hypot(x, y), atan2(x, y)
    a, b = sin(theta + r), cos(theta - r)
    a, b = a * a * a * r, b * b * b * r
    return a + b, a - b


@variation()
def bent(x, y, w, p):
    return (x if x >= 0 else 2 * x), (y if y >= 0 else y / 2)


@variation()
def waves(x, y, w, p):
    return (
        x + p[1] * sin(y / (p[2] * p[2] + TINY)),
        y + p[4] * sin(x / (p[5] * p[5] + TINY)),
    )


@variation()
def fisheye(x, y, w, p):
    s = 2 / (hypot(x, y) + 1)
    return s * y, s * x


@variation()
def popcorn(x, y, w, p):
    return x + p[2] * sin(tan(3 * y)), y + p[5] * sin(tan(3 * x))


@variation()
def exponential(x, y, w, p):
    e = exp(x - 1)
    return e * cos(pi * y), e * sin(pi * y)


@variation()
def power(x, y, w, p):
    r = hypot(x, y)
    s = 1 / (r + 1e-300)
    t = raise_to(r, x * s)
    return t * y * s, t * x * s


@variation()
def cosine(x, y, w, p):
    return cos(pi * x) * cosh(y), -sin(pi * x) * sinh(y)


@variation()
def rings(x, y, w, p):
    r, width = hypot(x, y), p[2] * p[2] + TINY
    t = (r + width) - 2 * width * trunc((r + width) / (2 * width)) - width + r * (1 - width)
    return t * y / (r + 1e-300), t * x / (r + 1e-300)


@variation()
def fan(x, y, w, p):
    r, theta, width = hypot(x, y), atan2(x, y), pi * (p[2] * p[2] + TINY)
    t = theta + p[5]
    inside = t - width * trunc(t / width) > width / 2
    t = theta - width / 2 if inside else theta + width / 2
    return r * cos(t), r * sin(t)


@variation(blob_low=(0.0, 0.2, 0.6), blob_high=(1.0, 0.8, 1.2), blob_waves=(1.0, 2.0, 7.0, True))
def blob(x, y, w, p):
    theta = atan2(x, y)
    t = p[6] + (p[7] - p[6]) * (0.5 + 0.5 * sin(p[8] * theta))
    return t * x, t * y


@variation(
    pdj_a=(0.0, -3.0, 3.0), pdj_b=(0.0, -3.0, 3.0), pdj_c=(0.0, -3.0, 3.0), pdj_d=(0.0, -3.0, 3.0)
)
def pdj(x, y, w, p):
    return sin(p[6] * y) - cos(p[7] * x), sin(p[8] * x) - cos(p[9] * y)


@variation(fan2_x=(0.0, 0.2, 1.0), fan2_y=(0.0, -1.0, 1.0))
def fan2(x, y, w, p):
    r, theta, width = hypot(x, y), atan2(x, y), pi * (p[6] * p[6] + TINY)
    t = theta + p[7]
    inside = t - width * trunc(t / width) > width / 2
    t = theta - width / 2 if inside else theta + width / 2
    return r * sin(t), r * cos(t)


@variation(rings2_val=(0.0, 0.3, 1.2))
def rings2(x, y, w, p):
    r, width = hypot(x, y), p[6] * p[6] + TINY
    t = 2 - width * (2 * trunc((r + width) / (2 * width)) / (r + 1e-300) + 1)
    return t * x, t * y


@variation()
def eyefish(x, y, w, p):
    s = 2 / (hypot(x, y) + 1)
    return s * x, s * y


@variation()
def bubble(x, y, w, p):
    s = 4 / (x * x + y * y + 4)
    return s * x, s * y


@variation()
def cylinder(x, y, w, p):
    return sin(x), y


@variation(perspective_angle=(0.0, 0.0, 1.0), perspective_dist=(0.0, 1.0, 3.0))
def perspective(x, y, w, p):
    angle = 0.5 * pi * p[6]
    s = p[7] / (p[7] - y * sin(angle))
    return s * x, s * y * cos(angle)


@variation(
    ngon_sides=(5.0, 3.0, 8.0, True),
    ngon_power=(3.0, 1.0, 4.0),
    ngon_circle=(1.0, 0.0, 2.0),
    ngon_corners=(2.0, 0.0, 2.0),
)
def ngon(x, y, w, p):
    side = 2 * pi / p[6]
    phi = atan2(y, x)
    phi = phi - side * floor(phi / side)
    phi = phi - side if phi > side / 2 else phi
    r_power = raise_to(x * x + y * y, 0.5 * p[7])
    s = (p[9] * (1 / (cos(phi) + TINY) - 1) + p[8]) / (r_power + TINY)
    return s * x, s * y


@variation(curl_c1=(1.0, -1.0, 1.0), curl_c2=(0.0, -1.0, 1.0))
def curl(x, y, w, p):
    re = 1 + p[6] * x + p[7] * (x * x - y * y)
    im = p[6] * y + 2 * p[7] * x * y
    s = 1 / (re * re + im * im)
    return (x * re + y * im) * s, (y * re - x * im) * s


@variation(rectangles_x=(1.0, 0.2, 1.5), rectangles_y=(1.0, 0.2, 1.5))
def rectangles(x, y, w, p):
    a = (2 * floor(x / p[6]) + 1) * p[6] - x if p[6] != 0 else x
    b = (2 * floor(y / p[7]) + 1) * p[7] - y if p[7] != 0 else y
    return a, b


@variation()
def tangent(x, y, w, p):
    return sin(x) / cos(y), tan(y)


@variation()
def secant2(x, y, w, p):
    c = cos(w * hypot(x, y))
    return x, 1 / c + (1.0 if c < 0 else -1.0)


@variation()
def cross(x, y, w, p):
    s = sqrt(1 / ((x * x - y * y) * (x * x - y * y) + TINY))
    return x * s, y * s
