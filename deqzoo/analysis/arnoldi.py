"""Leading eigenvalues and norm of a matrix that is known by its products alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse.linalg
from jaxtyping import Complex, Float
from scipy.sparse.linalg import LinearOperator

_DENSE = 48  # rows up to which the matrix is formed: Arnoldi needs room
_KRYLOV = 48  # directions kept
_RESTARTS = 100
_TOL = 1e-4  # relative, far above the rounding of float32 products


def leading_eigenvalues(operator: LinearOperator, count: int) -> Complex[np.ndarray, " k"]:
    """The eigenvalues of largest modulus, largest first; NaN where the iteration fails.

    Arnoldi's iteration with implicit restarts is right for complex pairs and for many eigenvalues
    of nearly equal size, where the power method is not or takes very long.

    Example:
        >>> import numpy as np
        >>> from scipy.sparse.linalg import aslinearoperator
        >>> from deqzoo.analysis.arnoldi import leading_eigenvalues
        >>> turn = np.array([[0.0, -0.5], [0.5, 0.0]])
        >>> np.abs(leading_eigenvalues(aslinearoperator(turn), 2))
        array([0.5, 0.5])

    References:
        Lehoucq, Sorensen and Yang, "ARPACK Users' Guide" (1998).
    """
    size = operator.shape[0]
    if size <= max(_DENSE, count + 2):
        return _sorted(np.linalg.eigvals(_formed(operator)), count)
    if _is_zero(operator):
        return np.zeros(count, complex)
    options: Any = {"which": "LM", "tol": _TOL, "maxiter": _RESTARTS, "v0": _start(size)}
    options |= {"ncv": min(size, _KRYLOV), "return_eigenvectors": False}
    try:
        values: Any = scipy.sparse.linalg.eigs(operator, k=count, **options)
        return _sorted(values, count)
    except scipy.sparse.linalg.ArpackError:
        return np.full(count, np.nan + 0j)


def operator_norm(operator: LinearOperator) -> float:
    """The largest singular value; NaN where the iteration fails."""
    size = operator.shape[0]
    if size <= _DENSE:
        return float(np.linalg.norm(_formed(operator), 2))
    if _is_zero(operator):
        return 0.0
    options: Any = {"tol": _TOL, "v0": _start(size), "return_singular_vectors": False}
    try:
        values: Any = scipy.sparse.linalg.svds(operator, k=1, **options)
        return float(values[0])
    except scipy.sparse.linalg.ArpackError:
        return float("nan")


def _formed(operator: LinearOperator) -> Float[np.ndarray, "n n"]:
    return np.asarray(operator.matmat(np.eye(operator.shape[0])))


def _is_zero(operator: LinearOperator) -> bool:
    """Whether a random vector is mapped to zero, which Arnoldi's iteration cannot start from."""
    return not np.any(operator.matvec(_start(operator.shape[0])))


def _start(size: int) -> Float[np.ndarray, " size"]:
    return np.random.default_rng(0).standard_normal(size)


def _sorted(values: np.ndarray, count: int) -> Complex[np.ndarray, " k"]:
    return values[np.argsort(-np.abs(values), kind="stable")][:count].astype(complex)
