"""Nodes and weights of Gauss's quadrature."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from crmlib.models.lifetime.inputs import Array


@lru_cache(maxsize=8)
def legendre(nodes: int) -> tuple[Array, Array]:
    """Return nodes and weights of the integral over 0 to 1.

    >>> at, weight = legendre(8)
    >>> round(float(weight @ at**3), 12)
    0.25
    """
    at, weight = np.polynomial.legendre.leggauss(nodes)
    return (at + 1) / 2, weight / 2
