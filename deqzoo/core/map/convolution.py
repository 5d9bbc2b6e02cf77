"""Convolutions in the one layout that XLA runs fast inside a loop on the CPU.

XLA:CPU has a fast convolution for operands NHWC x HWIO -> NHWC. At the top of a program it brings
every convolution to that layout by itself, but not always in the body of a loop: the transpose of a
convolution, which swaps I and O, then runs on a naive path, about ten times slower.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

_CONVOLUTION = "conv_general_dilated"
_INLINED = ("jit", "pjit", "closed_call")  # so that kernels can be arranged outside of a loop


def canonical(jaxpr: Jaxpr, *, platform: str | None = None) -> Jaxpr:
    """The same computation, with every convolution as NHWC x HWIO -> NHWC between transpositions.

    Constants, inputs and results stay what they are, and derivatives pass through. Nested
    computations (calls, loops, branches, custom derivatives) are rewritten as well; the rules of
    custom derivatives are not. A program without convolutions comes back as the same object.

    Where it does not pay, nothing is done: on accelerators XLA chooses layouts itself. The result
    is the same either way, so that a guess is enough, and a guess while tracing costs nothing,
    where ``lax.platform_dependent`` would trace every convolution twice and hide it in a branch.

    Args:
        jaxpr: a trace, for example ``jax.make_jaxpr(fn)(z).jaxpr``.
        platform: where it will run; by default on the default device.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from deqzoo.core.map import convolution
        >>> layout = ("NHWC", "OIHW", "NHWC")
        >>> fn = lambda z, k: jax.lax.conv_general_dilated(
        ...     z, k, (1, 1), "SAME", dimension_numbers=layout)
        >>> trace = jax.make_jaxpr(fn)(jnp.ones((1, 4, 4, 2)), jnp.ones((3, 2, 3, 3)))
        >>> fast = convolution.canonical(trace.jaxpr, platform="cpu")
        >>> [str(equation.primitive) for equation in fast.eqns]
        ['transpose', 'conv_general_dilated']
    """
    if (platform or _default_platform()) != "cpu" or not has_convolution(jaxpr):
        return jaxpr
    values: dict[Var, Any] = {var: var for var in (*jaxpr.constvars, *jaxpr.invars)}
    eqns = list(_rewrite(jaxpr, values))
    return jaxpr.replace(eqns=eqns, outvars=_read(values, jaxpr.outvars))


def has_convolution(jaxpr: Jaxpr) -> bool:
    """Whether there is a convolution anywhere in a trace."""
    return any(
        eqn.primitive.name == _CONVOLUTION or any(map(has_convolution, _inner(eqn)))
        for eqn in jaxpr.eqns
    )


def _default_platform() -> str:
    device: Any = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    if device is None:
        return jax.default_backend()
    return device if isinstance(device, str) else device.platform


# Rewriting. ``values`` says which variable or literal of the new program stands for an old one.


def _rewrite(jaxpr: Jaxpr, values: dict[Var, Any]) -> Iterator[JaxprEqn]:
    for eqn in jaxpr.eqns:
        inputs = _read(values, eqn.invars)
        body = _body(eqn)
        if body is not None:
            inside = dict(zip(body.invars, inputs, strict=True))
            yield from _rewrite(body, inside)
            results = _read(inside, body.outvars)
        else:
            results = [Var(var.aval) for var in eqn.outvars]
            yield eqn.replace(invars=inputs, outvars=results, params=_rewritten_params(eqn))
        values.update(zip(eqn.outvars, results, strict=True))


def _read(values: dict[Var, Any], atoms: Any) -> list:
    return [atom if isinstance(atom, Literal) else values[atom] for atom in atoms]


def _body(eqn: JaxprEqn) -> Jaxpr | None:
    """What to write in the place of an equation, if not the equation."""
    if eqn.primitive.name == _CONVOLUTION:
        return None if _is_canonical(eqn) else _canonical_convolution(eqn)
    call = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
    if eqn.primitive.name in _INLINED and isinstance(call, ClosedJaxpr) and not call.consts:
        return call.jaxpr if has_convolution(call.jaxpr) else None
    return None


def _inner(eqn: JaxprEqn) -> Iterator[Jaxpr]:
    for leaf in jax.tree.leaves(list(eqn.params.values()), is_leaf=_is_trace):
        if _is_trace(leaf):
            yield leaf.jaxpr if isinstance(leaf, ClosedJaxpr) else leaf


def _rewritten_params(eqn: JaxprEqn) -> dict[str, Any]:
    if not any(map(has_convolution, _inner(eqn))):
        return eqn.params
    return {name: _rewritten_param(value) for name, value in eqn.params.items()}


def _rewritten_param(value: Any) -> Any:
    if isinstance(value, ClosedJaxpr):
        return value.replace(jaxpr=canonical(value.jaxpr, platform="cpu"))
    if isinstance(value, Jaxpr):
        return canonical(value, platform="cpu")
    if isinstance(value, tuple):
        parts = [_rewritten_param(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


def _is_trace(value: Any) -> bool:
    return isinstance(value, Jaxpr | ClosedJaxpr)


# One convolution.


def _layout(rank: int) -> lax.ConvDimensionNumbers:
    """NHWC x HWIO -> NHWC: where batch, features and pixels (kernel: O, I and pixels) are."""
    last, pixels = rank - 1, range(1, rank - 1)
    image = (0, last, *pixels)
    return lax.ConvDimensionNumbers(image, (last, rank - 2, *range(rank - 2)), image)


def _is_canonical(eqn: JaxprEqn) -> bool:
    numbers = eqn.params["dimension_numbers"]
    layout = _layout(len(numbers.lhs_spec))
    return all(tuple(a) == tuple(b) for a, b in zip(numbers, layout, strict=True))


def _canonical_convolution(eqn: JaxprEqn) -> Jaxpr:
    numbers = eqn.params["dimension_numbers"]
    layout = _layout(len(numbers.lhs_spec))
    params = eqn.params | {"dimension_numbers": layout}

    def convolve(image, kernel):
        image = _move(image, numbers.lhs_spec, layout.lhs_spec)
        kernel = _move(kernel, numbers.rhs_spec, layout.rhs_spec)
        result = eqn.primitive.bind(image, kernel, **params)
        return _move(result, layout.out_spec, numbers.out_spec)

    return jax.make_jaxpr(convolve)(*(atom.aval for atom in eqn.invars)).jaxpr


def _move(array: jax.Array, old: Any, new: Any) -> jax.Array:
    """Axis ``old[i]`` becomes axis ``new[i]``."""
    source = dict(zip(new, old, strict=True))
    return lax.transpose(array, [source[axis] for axis in range(array.ndim)])
