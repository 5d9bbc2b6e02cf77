"""What can be said of a declaration before φ is sampled: its kinds, its dtypes, its finiteness."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deqzoo.activation import declared
from deqzoo.activation.contract import Activation
from deqzoo.activation.fact import Fact
from deqzoo.activation.samples import Samples
from deqzoo.settings import is_hashable, quoted


def declaration_facts(activation: Activation) -> Iterator[Fact]:
    """Bounds are numbers in order, kinks finite numbers, settings values that can be compared."""
    for kind in declared.kinds(activation):
        yield _kind(*kind)
    yield _kind("settings", "numbers, strings and tuples", activation, is_hashable(activation))


def _kind(what: str, kind: str, found: Any, holds: bool) -> Fact:
    return Fact(f"{what}, kind", kind, quoted(found), holds)


def dtype_facts(activation: Activation) -> Iterator[Fact]:
    """φ keeps shape and dtype, and so does its derivative, which forward mode takes."""
    for dtype in (jnp.bfloat16, jnp.float32, jnp.float64):
        x = jax.ShapeDtypeStruct((2, 3), dtype)
        declared = f"{x.dtype}{list(x.shape)}"
        measured = _result(lambda x=x: jax.eval_shape(activation, x))
        yield Fact(f"dtype and shape of {x.dtype}", declared, measured, measured == declared)
    along = jnp.ones(x.shape)  # not traced: what has reverse mode alone fails when it is computed
    measured = _result(lambda: jax.jvp(activation, (along,), (along,))[1])
    yield Fact("forward derivative", declared, measured, measured == declared)


def _result(call: Callable[[], Any]) -> str:
    """Dtype and shape of what is returned, or what is raised, whatever the code of a plug-in."""
    try:
        y = call()
        return f"{y.dtype}{list(y.shape)}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def range_facts(samples: Samples) -> Iterator[Fact]:
    """φ, φ' and φ'' are finite, also at kinks, at settings and at the constants of φ."""
    points = np.concatenate([*samples.parts, samples.single])
    for dtype, limit in ((np.float64, 1e8), (np.float32, 1e4)):
        x = points[np.abs(points) <= limit].astype(dtype)
        for name, values in zip(("φ", "φ'", "φ''"), samples(x), strict=True):
            bad = x[~np.isfinite(values)]
            shown = f"not finite at x = {bad[np.argmin(np.abs(bad))]:.6g}" if len(bad) else "finite"
            yield Fact(f"{name} in {x.dtype}", f"finite up to {limit:g}", shown, not len(bad))
