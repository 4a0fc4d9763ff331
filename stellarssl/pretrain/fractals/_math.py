"""Elementary functions without branches, tables or a mathematical library.

Loops over them become vector instructions, and they give the same bits on every machine: they
use only operations that IEEE 754 rounds correctly. Polynomials are minimax fits; relative
errors are below 1e-12. Arguments beyond about 1e15 give finite nonsense, which is all that a
chaotic orbit can want.
"""

from math import pi, sqrt

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

__all__ = [
    "atan2", "cos", "cosh", "exp", "floor", "hypot", "inline", "log", "power", "sin", "sinh", "tan",
    "trunc",
]  # fmt: skip

inline = njit(error_model="numpy", forceinline=True)
"""Compile a function of one point into whatever loop calls it."""

_ROUND = 1.5 * 2.0**52  # adding it leaves no bits for a fraction
_LN2_HIGH, _LN2_LOW = 0.693147180369123816490, 1.90821492927058770002e-10
_TWO_PI_HIGH, _TWO_PI_LOW = 6.28318530716560781002, 1.3978464621714782e-11


@intrinsic
def _as_float(typingctx, bits):  # noqa: ARG001
    def codegen(context, builder, signature, arguments):  # noqa: ARG001
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), codegen


@intrinsic
def _as_bits(typingctx, value):  # noqa: ARG001
    def codegen(context, builder, signature, arguments):  # noqa: ARG001
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(types.float64), codegen


@intrinsic
def floor(typingctx, value):  # noqa: ARG001
    """Return the largest whole number not above ``value``, as a float."""

    def codegen(context, builder, signature, arguments):  # noqa: ARG001
        function = builder.module.declare_intrinsic("llvm.floor", [ir.DoubleType()])
        return builder.call(function, arguments)

    return types.float64(types.float64), codegen


@inline
def _round(x):
    return (x + _ROUND) - _ROUND


@inline
def trunc(x):
    """Round towards zero."""
    whole = floor(abs(x))
    return whole if x >= 0 else -whole


@inline
def hypot(x, y):
    """Return the root of the sum of squares; no care is taken of overflow."""
    return sqrt(x * x + y * y)


@inline
def _turn(x):
    """Take off whole turns: the rest is in [-pi, pi]."""
    turns = _round(x * (0.5 / pi))
    rest = (x - turns * _TWO_PI_HIGH) - turns * _TWO_PI_LOW
    return min(max(rest, -pi), pi)


@inline
def _sine(x):
    """Return the sine of ``x`` in [-pi/2, pi/2]."""
    z = x * x
    p = 1.540110469297178e-10
    p = p * z - 2.5029514318051128e-08
    p = p * z + 2.755693180903356e-06
    p = p * z - 0.0001984126641022815
    p = p * z + 0.008333333318758082
    p = p * z - 0.16666666666432187
    return x * (p * z + 0.9999999999999375)


@inline
def sin(x):
    """Return the sine."""
    rest = _turn(x)
    half = pi / 2 - abs(abs(rest) - pi / 2)
    return _sine(half if rest >= 0 else -half)


@inline
def cos(x):
    """Return the cosine."""
    return _sine(pi / 2 - abs(_turn(x)))


@inline
def tan(x):
    """Return the tangent."""
    return sin(x) / cos(x)


@inline
def atan2(y, x):
    """Return the angle of (x, y), in [-pi, pi]; zero at the origin."""
    a, b = abs(x), abs(y)
    low, high = min(a, b), max(a, b)
    steep = low > high * 0.41421356237309503
    t = (low - high if steep else low) / ((low + high if steep else high) + 1e-300)
    z = t * t
    p = -0.037711237651687296
    p = p * z + 0.06977585157510673
    p = p * z - 0.08993356356706346
    p = p * z + 0.11103551455624668
    p = p * z - 0.14285392269236888
    p = p * z + 0.19999993218253062
    p = p * z - 0.33333333278704863
    angle = t * (p * z + 0.9999999999992764) + (pi / 4 if steep else 0.0)
    angle = pi / 2 - angle if b > a else angle
    angle = pi - angle if x < 0 else angle
    return angle if y >= 0 else -angle


@inline
def exp(x):
    """Return the exponential; the argument is kept within +-700."""
    x = min(max(x, -700.0), 700.0)
    shifted = x * 1.4426950408889634 + _ROUND
    n = shifted - _ROUND
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    p = 2.472715722546953e-05
    p = p * r + 0.00019915475909480708
    p = p * r + 0.0013889179078131857
    p = p * r + 0.008333266935682308
    p = p * r + 0.04166666421461747
    p = p * r + 0.1666666688592315
    p = p * r + 0.5000000000620048
    p = p * r + 0.999999999980567
    p = p * r + 0.9999999999997615
    return p * _as_float((_as_bits(shifted) + 1023) << 52)


@inline
def log(x):
    """Return the natural logarithm of ``x`` > 0; of less than 1e-300, that of 1e-300."""
    bits = _as_bits(max(x, 1e-300))
    # the mantissa is brought to [sqrt(1/2), sqrt(2))
    offset = bits - 0x3FE6A09E667F3BCD
    exponent = offset >> 52
    m = _as_float(bits - (exponent << 52))
    n = _as_float(exponent + 0x4338000000000000) - _ROUND
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    p = 0.19610582283004807
    p = p * z + 0.22174077917204163
    p = p * z + 0.2857217029189056
    p = p * z + 0.39999994851238835
    p = p * z + 0.6666666667971757
    return s * (p * z + 1.9999999999999465) + n * _LN2_HIGH + n * _LN2_LOW


@inline
def power(x, y):
    """Return ``x`` to the power of ``y``, for ``x`` >= 0."""
    return exp(y * log(x))


@inline
def sinh(x):
    """Return the hyperbolic sine; small arguments keep their absolute accuracy only."""
    e = exp(x)
    return 0.5 * (e - 1.0 / e)


@inline
def cosh(x):
    """Return the hyperbolic cosine."""
    e = exp(x)
    return 0.5 * (e + 1.0 / e)
