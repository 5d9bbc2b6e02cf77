"""What can be said of a declaration before φ is sampled: its kinds, its dtypes, its finiteness."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deqzoo.activation.contract import Activation
from deqzoo.activation.fact import Fact
from deqzoo.activation.samples import Samples
from deqzoo.settings import quoted


def declaration_facts(activation: Activation) -> Iterator[Fact]:
    """Bounds are numbers in order, kinks finite numbers, settings values that can be compared."""
    slope = activation.slope
    two = isinstance(slope, tuple | list) and len(slope) == 2 and all(map(_is_finite, slope))
    yield _kind("slope", "(inf φ', sup φ')", slope, two and slope[0] <= slope[1])
    curvature = activation.curvature
    yield _kind("curvature", "a number >= 0", curvature, _is_number(curvature) and curvature >= 0)
    kinks = activation.kinks
    points = isinstance(kinks, tuple) and all(map(_is_finite, kinks))
    yield _kind("kinks", "a tuple of finite numbers", kinks, points)
    yield _kind("settings", "numbers, strings and tuples", activation, _is_hashable(activation))


def _kind(what: str, declared: str, found: Any, holds: bool) -> Fact:
    return Fact(f"{what}, kind", declared, quoted(found), holds)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return _is_number(value) and math.isfinite(value)


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


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
