"""One activation of a linear form, fitted by a convex problem."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from deqzoo import catalog
from deqzoo.activation.contract import Activation
from deqzoo.identification.descent import descend
from deqzoo.identification.features import whitened

_RTOL, _MAX_STEPS = 1e-10, 10_000


def regress(activation: Activation | str, x, y) -> Float[np.ndarray, " d"]:
    """The w that minimises the matching loss, the mean of Φ(w·x) - y w·x with Φ' = φ.

    Its gradient is the difference of the Chow parameters, mean (φ(w·x) - y) x, and the problem is
    convex, as that of (φ(w·x) - y)² is not. Clean y are met. For the rectifier and isotropic
    log-concave x a theorem of the paper says E(φ(w·x) - y)² = O(best) + ε of enough examples;
    nothing is proved of those at hand.

    Args:
        activation: φ or its recipe; where it falls, values it takes twice count as "below".
        x: (n, d). A constant, if there is to be one, is a column of its own.
        y: (n,).

    Returns:
        Of least norm where several do.

    References:
        Diakonikolas, Goel, Karmalkar, Klivans and Soltanolkotabi, "Approximation Schemes for ReLU
        Regression", arXiv 2005.12844, Algorithm 1 and Theorem 1; FISTA and whitened features
        in the place of projected gradient descent: deqzoo.

    Example:
        >>> import numpy as np
        >>> from deqzoo.identification import regress
        >>> x = np.random.default_rng(0).standard_normal((200, 2))
        >>> regress("tanh", x, np.tanh(x @ [0.5, -1.0])).round(6).tolist()
        [0.5, -1.0]
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 2 or y.shape != x.shape[:1] or not len(x):
        raise ValueError(f"expected x (n, d) and y (n,), n > 0, got {x.shape} and {y.shape}")
    if not (np.all(np.isfinite(x)) and np.all(np.isfinite(y))):
        raise ValueError("expected finite x and y, got NaN or infinity: leave those rows out")
    features, back = whitened(x)
    act = catalog.activations.get(activation)
    found = descend(act, features, y[:, None], rtol=_RTOL, max_steps=_MAX_STEPS)
    return back @ found.weights[0]
