"""From the formula of a variation to machine code that moves many points at once.

A variation is written for one point. Here it is put into a loop over points, compiled on first use
and kept in numba's cache on disk; the renderer calls it by address, so that one compiled renderer
serves every genome.
"""

import functools
import types as python_types
from collections.abc import Callable
from typing import NamedTuple

from numba import carray, cfunc, njit, types
from numba.extending import intrinsic

__all__ = [
    "N_PARAMETERS",
    "N_UNIFORMS",
    "VARIATIONS",
    "Parameter",
    "Variation",
    "block_address",
    "call_block",
    "variation",
]

N_PARAMETERS = 16
"""Numbers a variation may read: the six coefficients of its affine map, then its own."""
N_UNIFORMS = 5
"""Random numbers a variation may use for a point."""

_DOUBLES = types.CPointer(types.float64)
_SIGNATURE = types.void(types.int64, *[_DOUBLES] * 4, types.float64, *[_DOUBLES] * 2)


class Parameter(NamedTuple):
    """A number that belongs to a variation.

    Attributes
    ----------
    name : str
        As in flam3's XML.
    default : float
        Its value where a genome does not say.
    low, high : float
        Between what it is drawn for a random genome.
    whole : bool
        Whether it is drawn as a whole number.
    """

    name: str
    default: float
    low: float
    high: float
    whole: bool = False


class Variation(NamedTuple):
    """A nonlinear map of the plane.

    Attributes
    ----------
    name : str
        As in flam3's XML.
    function : callable
        ``function(x, y, w, p)`` or, if random, ``function(x, y, w, p, u0, ... u4)`` with the
        weight w; returns (x, y), which is then multiplied by the weight.
    parameters : tuple of Parameter
        Its own parameters: ``p[6]`` and on.
    n_uniforms : int
        How many random numbers it uses for a point.
    """

    name: str
    function: Callable
    parameters: tuple[Parameter, ...] = ()
    n_uniforms: int = 0


VARIATIONS: dict[str, Variation] = {}
"""All variations by name; the modules of formulas fill it."""


def variation(n_uniforms: int = 0, **parameters: tuple) -> Callable[[Callable], Callable]:
    """Register the decorated formula as a variation of its own name (less a closing underscore).

    Parameters
    ----------
    n_uniforms : int, optional
        How many random numbers it uses for a point.
    **parameters : tuple
        For each of its parameters the default, the range that it is drawn from, and True if it is
        a whole number.

    Returns
    -------
    register : callable
        Returns the formula as it is.
    """

    def register(function: Callable) -> Callable:
        name = function.__name__.rstrip("_")
        own = tuple(Parameter(key, *value) for key, value in parameters.items())
        VARIATIONS[name] = Variation(name, function, own, n_uniforms)
        return function

    return register


def _fixed_block(n, x, y, u, p, w, out_x, out_y):  # noqa: ARG001
    x, y, p = carray(x, (n,)), carray(y, (n,)), carray(p, (16,))
    out_x, out_y = carray(out_x, (n,)), carray(out_y, (n,))
    q = (p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7])
    q = (*q, p[8], p[9], p[10], p[11], p[12], p[13], p[14], p[15])
    for i in range(n):
        dx, dy = _point(x[i], y[i], w, q)  # noqa: F821  (bound by _compile)
        out_x[i] += w * dx
        out_y[i] += w * dy


def _random_block(n, x, y, u, p, w, out_x, out_y):
    x, y, p = carray(x, (n,)), carray(y, (n,)), carray(p, (16,))
    u = carray(u, (5, n))
    out_x, out_y = carray(out_x, (n,)), carray(out_y, (n,))
    q = (p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7])
    q = (*q, p[8], p[9], p[10], p[11], p[12], p[13], p[14], p[15])
    for i in range(n):
        dx, dy = _point(x[i], y[i], w, q, u[0, i], u[1, i], u[2, i], u[3, i], u[4, i])  # noqa: F821
        out_x[i] += w * dx
        out_y[i] += w * dy


@functools.cache
def block_address(variation: Variation) -> int:
    """Compile a variation's loop over points, or load it from the cache.

    Parameters
    ----------
    variation : Variation
        What to compile.

    Returns
    -------
    address : int
        Where its machine code is, for `call_block`.
    """
    return _compile(variation).address


@functools.cache
def _compile(variation: Variation):
    template = _random_block if variation.n_uniforms else _fixed_block
    point = njit(error_model="numpy", forceinline=True)(variation.function)
    # numba files its cache under the source file and the name: those of the formula.
    code = template.__code__.replace(co_filename=variation.function.__code__.co_filename)
    block = python_types.FunctionType(code, {"carray": carray, "_point": point})
    block.__name__ = block.__qualname__ = f"_block_{variation.name}"
    block.__module__ = variation.function.__module__
    return cfunc(_SIGNATURE, cache=True, error_model="numpy")(block)


@intrinsic
def call_block(typingctx, address, n, x, y, u, p, w, out_x, out_y):  # noqa: ARG001
    """Call a compiled variation: all arguments but ``n`` and ``w`` are addresses."""
    signature = types.void(
        types.intp, types.intp, *[types.intp] * 4, types.float64, *[types.intp] * 2
    )

    def codegen(context, builder, signature, arguments):  # noqa: ARG001
        from llvmlite import ir  # noqa: PLC0415

        double, word = ir.DoubleType(), ir.IntType(64)
        pointer = double.as_pointer()
        wanted = [word, *[pointer] * 4, double, *[pointer] * 2]
        function = builder.inttoptr(
            arguments[0], ir.FunctionType(ir.VoidType(), wanted).as_pointer()
        )
        values = [
            builder.inttoptr(value, kind) if kind == pointer else value
            for value, kind in zip(arguments[1:], wanted, strict=True)
        ]
        builder.call(function, values)
        return context.get_dummy_value()

    return signature, codegen
