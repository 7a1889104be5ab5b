"""Exact values with bounds on the error of their computation in float32.

Every bound follows from the standard model of floating-point arithmetic (Higham, Accuracy and
Stability of Numerical Algorithms, chapters 2 and 3), with unit roundoff u = 2**-24:

- A sum, difference or product is rounded once: its error is at most u times the result. A fused
  multiply-add rounds less often, so that the same bounds hold.
- A sum of K products, in any order and in blocks of any size, is off by at most gamma_K times the
  sum of their magnitudes, where gamma_K = K u / (1 - K u). Terms that are exactly 0 do not count.
- A division or an elementary function is off by the ULP that its libraries document (``ULP``).
- An error of the operands passes on as it does in interval arithmetic.

NumPy computes in float64. Its own error is 2**-29 of these bounds, and ``U`` has a margin for it.
No result of the programs is subnormal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

U = 2.0**-24 * (1 + 2.0**-20)
TF32_INPUTS = 2.0**-11  # an accelerator may round the inputs of a matrix product to 11 bits
ULP = {  # the largest that a library documents for float32
    "divide": 2,  # NVIDIA's div.full; IEEE on CPUs
    "exp": 20,  # PyTorch's exp_u20, in softmax; 7 in XLA (accuracy_budget.h), 3 in Cephes and Eigen
    "log": 3,  # XLA on ROCm; 1 in XLA, MKL (VML_HA) and CUDA, 2 in Cephes and Eigen
    "power": 4,  # CUDA; 3 in Eigen, 1 in SLEEF
    "rsqrt": 2,  # Eigen's Newton step, CUDA; 1 in XLA, and two IEEE operations in PyTorch
    "sqrt": 2,  # Eigen's Newton step; IEEE elsewhere
}


def gamma(terms: float) -> float:
    """Return the relative error of ``terms`` roundings in a row."""
    return terms * U / (1 - terms * U)


class Bounded:
    """The exact ``value`` and a bound on the ``error`` of its float32 counterpart."""

    def __init__(self, value: ArrayLike, error: ArrayLike = 0.0) -> None:
        self.value: Array = np.asarray(value, np.float64)
        self.error: Array = np.broadcast_to(np.asarray(error, np.float64), self.value.shape)

    @property
    def magnitude(self) -> Array:
        """The largest absolute value that the float32 counterpart can have."""
        return np.abs(self.value) + self.error

    def nearest(self, _value: Array) -> Bounded:
        """Return the exact value: there is one."""
        return self

    def rounded(self, roundings: float = 1.0) -> Bounded:
        """Return the value after ``roundings`` more roundings."""
        return Bounded(self.value, self.error + gamma(roundings) * self.magnitude)

    def linear(self, function: Callable[[Array], Array]) -> Bounded:
        """Return the value after a function that only moves or repeats elements."""
        return Bounded(function(self.value), function(self.error))

    def apply(self, function: Callable[[Array], Array], ulp: float) -> Bounded:
        """Return a monotonic function of the value; its float32 version is off by ``ulp``."""
        value = function(self.value)
        ends = (function(self.value - self.error), function(self.value + self.error))
        spread = np.maximum(*(np.abs(end - value) for end in ends))
        return Bounded(value, spread).rounded(2 * ulp + 1)  # 1 ULP is at most 2 u; 1 for rounding

    def __neg__(self) -> Bounded:
        return Bounded(-self.value, self.error)

    def __add__(self, other: Bounded) -> Bounded:
        return Bounded(self.value + other.value, self.error + other.error).rounded()

    def __sub__(self, other: Bounded) -> Bounded:
        return self + -other

    def __mul__(self, other: Bounded) -> Bounded:
        value = self.value * other.value
        return Bounded(value, self.magnitude * other.magnitude - np.abs(value)).rounded()

    def __truediv__(self, other: Bounded) -> Bounded:
        value = self.value / other.value
        smallest = np.abs(other.value) - other.error
        error = (self.error + np.abs(value) * other.error) / smallest
        return Bounded(value, error).rounded(2 * ULP["divide"] + 1)


@dataclass(frozen=True)
class Range:
    """Exact values of which each from ``least`` to ``most`` is right."""

    least: Array
    most: Array

    def nearest(self, value: Array) -> Bounded:
        """Return the right value nearest to ``value``."""
        return Bounded(np.clip(np.nan_to_num(value), self.least, self.most))


def constant(number: float) -> Bounded:
    """Return a Python number, which the backend rounds to float32."""
    return Bounded(number, abs(float(np.float32(number)) - number))


def bilinear(
    function: Callable[[Any, Any], Array], a: Bounded, b: Bounded, terms: int, inputs: float = 0.0
) -> Bounded:
    """Return ``function``, each of its elements a sum of up to ``terms`` products.

    ``inputs``: the relative error to which the operation itself may round its operands.
    """
    magnitude = function(np.abs(a.value), np.abs(b.value))
    largest = function(a.magnitude * (1 + inputs), b.magnitude * (1 + inputs))
    return Bounded(function(a.value, b.value), largest - magnitude + gamma(terms) * largest)


def dot(subscripts: str, a: Bounded, b: Bounded, terms: int, inputs: float = 0.0) -> Bounded:
    """Return an ``einsum`` of two operands that sums ``terms`` products for each element."""
    return bilinear(lambda x, y: np.einsum(subscripts, x, y, optimize=True), a, b, terms, inputs)


def total(a: Bounded, axis: int | tuple[int, ...], terms: int) -> Bounded:
    """Return the sum over an axis, which stays with length 1, of at most ``terms`` terms."""
    return bilinear(lambda x, one: (x * one).sum(axis, keepdims=True), a, Bounded(1.0), terms)


def either(a: Bounded, b: Bounded) -> Bounded:
    """Return a bound for two formulas of the same value, of which a backend uses one."""
    return Bounded(a.value, np.maximum(a.error, b.error))
