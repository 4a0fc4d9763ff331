"""The variations."""
from math import pi, sqrt

from stellarssl.pretrain.fractals._math import atan2, cos, cosh, exp, sin, sinh, tan
from stellarssl.pretrain.fractals._blocks import Variation

__all__ = ["VARIATIONS"]
EPS = 1e-10
def linear(x, y, w, p): return x, y
def sinusoidal(x, y, w, p): return sin(x), sin(y)
def spherical(x, y, w, p):
    s = 1 / (x * x + y * y + EPS)
    return x * s, y * s
def swirl(x, y, w, p):
    r2 = x * x + y * y
    s, c = sin(r2), cos(r2)
    return s * x - c * y, c * x + s * y
def horseshoe(x, y, w, p):
    s = 1 / sqrt(x * x + y * y + EPS)
    return (x - y) * (x + y) * s, 2 * x * y * s
def polar(x, y, w, p): return atan2(x, y) / pi, sqrt(x * x + y * y) - 1
def handkerchief(x, y, w, p):
    r, t = sqrt(x * x + y * y), atan2(x, y)
    return r * sin(t + r), r * cos(t - r)
def heart(x, y, w, p):
    r = sqrt(x * x + y * y); t = r * atan2(x, y)
    return r * sin(t), -r * cos(t)
def disc(x, y, w, p):
    t, r = atan2(x, y) / pi, pi * sqrt(x * x + y * y)
    return t * sin(r), t * cos(r)
def spiral(x, y, w, p):
    r = sqrt(x * x + y * y) + EPS
    return (y / r + sin(r)) / r, (x / r - cos(r)) / r
def hyperbolic(x, y, w, p):
    r = sqrt(x * x + y * y) + EPS
    return x / r / r, y
def diamond(x, y, w, p):
    r = sqrt(x * x + y * y); s = r + EPS
    return x / s * cos(r), y / s * sin(r)
def ex(x, y, w, p):
    r, t = sqrt(x * x + y * y), atan2(x, y)
    a, b = sin(t + r) ** 3 * r, cos(t - r) ** 3 * r
    return a + b, a - b
def julia(x, y, w, p, u0, u1, u2, u3, u4):
    r, t = sqrt(sqrt(x * x + y * y)), 0.5 * atan2(x, y) + (pi if u0 < 0.5 else 0.0)
    return r * cos(t), r * sin(t)
def bent(x, y, w, p): return (x if x >= 0 else 2 * x), (y if y >= 0 else y / 2)
def waves(x, y, w, p):
    return x + p[1] * sin(y / (p[2] * p[2] + EPS)), y + p[4] * sin(x / (p[5] * p[5] + EPS))
def fisheye(x, y, w, p):
    r = 2 / (sqrt(x * x + y * y) + 1)
    return r * y, r * x
def popcorn(x, y, w, p): return x + p[2] * sin(tan(3 * y)), y + p[5] * sin(tan(3 * x))
def exponential(x, y, w, p):
    e = exp(min(x, 50.0) - 1)
    return e * cos(pi * y), e * sin(pi * y)
def cosine(x, y, w, p):
    return cos(pi * x) * cosh(min(max(y, -50.0), 50.0)), -sin(pi * x) * sinh(min(max(y, -50.0), 50.0))
def eyefish(x, y, w, p):
    r = 2 / (sqrt(x * x + y * y) + 1)
    return r * x, r * y
def bubble(x, y, w, p):
    r = 1 / ((x * x + y * y) / 4 + 1)
    return r * x, r * y
def cylinder(x, y, w, p): return sin(x), y
def blur(x, y, w, p, u0, u1, u2, u3, u4): return u1 * cos(2 * pi * u0), u1 * sin(2 * pi * u0)
def noise(x, y, w, p, u0, u1, u2, u3, u4): return x * u1 * cos(2 * pi * u0), y * u1 * sin(2 * pi * u0)
def gaussian_blur(x, y, w, p, u0, u1, u2, u3, u4):
    r = u1 + u2 + u3 + u4 - 2
    return r * cos(2 * pi * u0), r * sin(2 * pi * u0)
_FIXED = (linear, sinusoidal, spherical, swirl, horseshoe, polar, handkerchief, heart, disc, spiral, hyperbolic, diamond, ex, bent, waves, fisheye, popcorn, exponential, cosine, eyefish, bubble, cylinder)
VARIATIONS = {f.__name__: Variation(f.__name__, f) for f in _FIXED} | {f.__name__: Variation(f.__name__, f, n_uniforms=n) for f, n in ((julia, 1), (blur, 2), (noise, 2), (gaussian_blur, 5))}
