"""The largest safe step of gradient descent on the square loss: 1/λ_max of the tangent kernel."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import scipy.sparse.linalg

from deqzoo.training.evaluation import Forward


def ntk_step(forward: Forward, parameters: dict[str, Any], x: Any) -> float:
    """1/λ_max(J Jᵀ), J the Jacobian of the outputs on ``x`` with respect to all parameters.

    λ_max comes from Lanczos on matrix-free products (one adjoint and one tangent solve each).
    Gradient descent on ½‖ŷ - y‖² linearised at these parameters is stable below twice this step.
    """
    outputs, shape = lambda p: forward(p, x)[0], jax.eval_shape(forward, parameters, x)[0]

    @jax.jit
    def product(parameters, vector):
        _, pull = jax.vjp(outputs, parameters)
        return jax.jvp(
            outputs, (parameters,), pull(vector.reshape(shape.shape).astype(shape.dtype))
        )[1].ravel()

    size = int(np.prod(shape.shape))
    start = np.random.default_rng(0).standard_normal(size)
    if size == 1:
        return 1 / float(product(parameters, np.ones(1))[0])
    operator: Any = scipy.sparse.linalg.LinearOperator  # its signature is made at run time
    kernel = operator(
        (size, size),
        matvec=lambda v: np.asarray(product(parameters, v), np.float64),
        dtype=np.float64,
    )
    options: Any = {"k": 1, "which": "LA", "v0": start, "tol": 1e-3, "ncv": min(size, 12)}
    largest = scipy.sparse.linalg.eigsh(kernel, return_eigenvectors=False, **options)
    return 1 / float(largest[0])
