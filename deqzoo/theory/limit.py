"""The infinitely wide DEQ: its Gram matrix, NNGP and tangent kernel, for any activation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from deqzoo.activation.contract import Activation
from deqzoo.activation.digits import at_most
from deqzoo.theory import pairs
from deqzoo.theory.error import TheoryError
from deqzoo.theory.inputs import Inputs, as_inputs, have_equal_norms
from deqzoo.theory.pairs import Defect, Pairs
from deqzoo.theory.variances import Variances, solve_variances

_TILE = 512

Matrix = Float[np.ndarray, "n m"]


@dataclass(frozen=True)
class WideLimit:
    """z = φ(Wz + Ux), ŷ = aᵀz as the width m tends to infinity.

    W_ij ~ N(0, s_w²/m), U_ij ~ N(0, s_u²/d), a_i ~ N(0, s_a²/m). Inputs have any norms. All
    matrices are float64 whatever the global flag, computed in tiles: beside the result only a few
    tiles are held.

    Args:
        activation: φ.
        s_w: weight scale, s_w L < 1.
        s_u: input scale; the papers take √2.
        s_a: readout scale; the papers take 1.

    Raises:
        TheoryError: s_w L >= 1 (the kernel need not exist), or a scale that is negative.

    Example:
        >>> import numpy as np, activations
        >>> from deqzoo.theory import WideLimit
        >>> x = np.eye(3) * np.sqrt(3)
        >>> limit = WideLimit(activations.get("relu"), s_w=0.4)
        >>> round(float(limit.gram(x)[0, 0]), 12)  # 1/(1 - 0.08)
        1.086956521739

    References:
        Ling et al., arXiv 2205.13814, Definition 1, for the rectifier. Gao, Huo, Liu and Gao, arXiv
        2310.10767, prove the Gaussian limit of finite networks and its definiteness, where
        2 s_w L < 1; Feng and Kolter, arXiv 2310.14062, that the tangent kernel is deterministic.
        That the fixed point exists for s_w L < 1, and its solution, are derived for deqzoo.
    """

    activation: Activation
    s_w: float
    s_u: float = math.sqrt(2)
    s_a: float = 1.0

    def __post_init__(self):
        if not (self.s_w >= 0 and self.s_u > 0 and self.s_a >= 0):
            raise TheoryError(
                f"expected s_w >= 0, s_u > 0 and s_a >= 0, got {self.s_w}, {self.s_u}, {self.s_a}"
            )
        if not self.kernel_gain < 1:
            raise TheoryError(
                f"the kernel need not exist: s_w L = {self.kernel_gain:.6g} with "
                f"L = {self.activation.lipschitz:.6g}, but the fixed point needs s_w L < 1; use "
                f"s_w below {at_most(1 / self.activation.lipschitz)} "
                f"(below {at_most(1 / (2 * self.activation.lipschitz))} for a finite network)"
            )

    @classmethod
    def from_ling(cls, activation: Activation, sigma_w2: float, s_a: float = 1.0) -> WideLimit:
        """The scales of Ling et al., Assumption 1: s_w² = 2 σ_w², s_u² = 2, s_a² = 1."""
        if not sigma_w2 >= 0:
            raise TheoryError(f"sigma_w2 must be >= 0, got {sigma_w2}")
        return cls(activation, math.sqrt(2 * sigma_w2), math.sqrt(2), s_a)

    @property
    def kernel_gain(self) -> float:
        """s_w L, the contraction factor of the covariance recursion."""
        return self.s_w * self.activation.lipschitz

    def variances(self, x) -> Variances:
        """q_i and the diagonals of K and K_dot for inputs (n, ...)."""
        return self._variances(as_inputs(x))

    def gram(self, x, other=None) -> Matrix:
        """The population Gram matrix K_ij = lim z_i·z_j/m.

        Args:
            x: inputs (n, ...), flattened to n rows of d numbers.
            other: inputs of the columns; x by default.
        """
        return self.assemble(lambda block: block.K, x, other)[0]

    def nngp(self, x, other=None) -> Matrix:
        """s_a² K, the covariance of the outputs over random networks."""
        return self.assemble(lambda block: self.s_a**2 * block.K, x, other)[0]

    def ntk(self, x, other=None, *, width: int | None = None) -> Matrix:
        """The tangent kernel of all parameters.

        In the tangent-kernel parameterisation s_a² (K + s_u² ρ K_dot)/(1 - s_w² K_dot), ρ = x·x'/d.
        With a width, the kernel of plain gradient descent on W, U and a at that width:
        m K + (m K + d ρ) K_dot s_a²/(1 - s_w² K_dot).
        """
        kernel = self._ntk if width is None else self._standard_ntk(width, as_inputs(x).dimension)
        return self.assemble(kernel, x, other)[0]

    def assemble(self, kernel: Callable[[Pairs], Matrix], x, other=None) -> tuple[Matrix, Defect]:
        """Any kernel made of K, K_dot, C and x·x'/d, with what its solution lacks."""
        rows = as_inputs(x)
        columns = rows if other is None else as_inputs(other)
        if rows.dimension != columns.dimension:
            raise TheoryError(
                f"both sets of inputs must have one dimension, got {rows.dimension} and "
                f"{columns.dimension}"
            )
        solve, defect, q_rows, q_columns = self._prepare(rows, columns)
        result = np.empty((len(rows), len(columns)))
        for i in _tiles(len(rows)):
            for j in _tiles(len(columns)):
                if other is None and j.start < i.start:
                    result[i, j] = result[j, i].T
                    continue
                row_block = (rows[i], q_rows[i])
                if other is None and i == j:
                    block = _pin(solve(row_block, row_block), q_rows[i])
                else:
                    block = solve(row_block, (columns[j], q_columns[j]))
                result[i, j] = kernel(block)
        return result, defect

    def _prepare(self, rows: Inputs, columns: Inputs):
        if have_equal_norms(rows, columns):
            square = float(f"{np.mean(rows.squares):.14g}")  # one table whatever the rounding
            one = solve_variances(self.activation, np.array([square]), self.s_w, self.s_u)
            solve, defect = pairs.on_a_sphere(self.activation, self.s_w, self.s_u, square)
            return solve, defect, *(one[np.zeros(len(each), int)] for each in (rows, columns))
        q_rows, q_columns = self._variances(rows), self._variances(columns)
        every = np.concatenate([q_rows.q, q_columns.q])
        solve, defect = pairs.of_any_norm(self.activation, self.s_w, self.s_u, every)
        for each in (q_rows, q_columns):
            defect.add(each.residual, each.truncation, 0)
        return solve, defect, q_rows, q_columns

    def _variances(self, inputs: Inputs) -> Variances:
        distinct, place = np.unique(inputs.squares, return_inverse=True)
        found = solve_variances(self.activation, distinct, self.s_w, self.s_u)
        return found[place]

    def _ntk(self, block: Pairs) -> Matrix:
        rest = 1 - self.s_w**2 * block.K_dot
        return self.s_a**2 * (block.K + self.s_u**2 * block.products * block.K_dot) / rest

    def _standard_ntk(self, width: int, dimension: int) -> Callable[[Pairs], Matrix]:
        def kernel(block: Pairs) -> Matrix:
            hidden = width * block.K
            adjoint = self.s_a**2 * block.K_dot / (1 - self.s_w**2 * block.K_dot)
            return hidden + (hidden + dimension * block.products) * adjoint

        return kernel


def population_gram(
    activation: Activation, x, *, s_w: float | None = None, s_u: float = math.sqrt(2)
) -> Matrix:
    """K_ij = E φ(u)φ(v) at the fixed point C = s_w² K + s_u² x·x'/d of the wide DEQ.

    Args:
        activation: φ.
        x: inputs (n, ...) of any norms.
        s_w: weight scale, s_w L < 1; by default 0.4/L.
        s_u: input scale.

    Returns:
        (n, n), float64.

    Raises:
        TheoryError: s_w L >= 1, or inputs that are not finite.

    Example:
        >>> import numpy as np, activations
        >>> from deqzoo.theory import population_gram
        >>> x = np.random.default_rng(0).standard_normal((5, 3))
        >>> population_gram(activations.get("gelu"), x, s_w=0.4).shape
        (5, 5)

    References:
        Ling et al., arXiv 2205.13814, Definition 1 (rectifier); general activations: deqzoo.
    """
    s_w = activation.default_s_w if s_w is None else s_w
    return WideLimit(activation, s_w, s_u).gram(x)


def _tiles(count: int) -> list[slice]:
    return [slice(start, min(start + _TILE, count)) for start in range(0, count, _TILE)]


def _pin(block: Pairs, variances: Variances) -> Pairs:
    """The diagonal from one-dimensional quadrature, where series and arccos are least exact."""
    K, K_dot, C = block.K.copy(), block.K_dot.copy(), block.C.copy()
    np.fill_diagonal(K, variances.square)
    np.fill_diagonal(K_dot, variances.slope_square)
    np.fill_diagonal(C, variances.q)
    return Pairs(K, K_dot, C, block.products)
