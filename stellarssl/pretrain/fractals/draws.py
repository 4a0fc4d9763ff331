"""Random numbers for genomes and images that are the same on every machine."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

__all__ = ["Draws"]

_T = TypeVar("_T")


class Draws:
    """PCG64's uniform doubles and what additions make of them.

    NumPy promises the generator's bits for ever, but not its normal numbers, which are made with a
    mathematical library besides; a flame is chaotic, so a last bit would give another image.

    Parameters
    ----------
    *key : int
        Seeds, none negative.

    Examples
    --------
    >>> round(Draws(1, 2).uniform(), 6) == round(Draws(1, 2).uniform(), 6)
    True
    """

    def __init__(self, *key: int) -> None:
        self._generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Draw from [low, high).

        Parameters
        ----------
        low, high : float, optional
            Lower limit, included, and upper limit, excluded.

        Returns
        -------
        number : float
            A uniform random number.
        """
        return low + (high - low) * float(self._generator.random())

    def uniforms(self, *shape: int) -> np.ndarray:
        """Draw an array from [0, 1).

        Parameters
        ----------
        *shape : int
            Shape of the array.

        Returns
        -------
        numbers : ndarray of float64
            Uniform random numbers.
        """
        return self._generator.random(shape)

    def normal(self, mean: float = 0.0, sigma: float = 1.0) -> float:
        """Draw the sum of twelve uniform numbers: a bell curve that ends at six sigma.

        Parameters
        ----------
        mean, sigma : float, optional
            Mean and standard deviation.

        Returns
        -------
        number : float
            A nearly normal random number.
        """
        return mean + sigma * (sum(self._generator.random(12).tolist()) - 6.0)

    def integer(self, low: int, high: int) -> int:
        """Draw one of ``low .. high``, both included.

        Parameters
        ----------
        low, high : int
            Smallest and largest number.

        Returns
        -------
        number : int
            A uniform random integer.
        """
        return low + int(self._generator.random() * (high + 1 - low))

    def choice(self, items: Sequence[_T]) -> _T:
        """Draw an item.

        Parameters
        ----------
        items : sequence
            Items to choose from, not empty.

        Returns
        -------
        item : object
            One of them, each with the same probability.
        """
        return items[self.integer(0, len(items) - 1)]
