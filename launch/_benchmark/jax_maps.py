"""The maps of the problems in JAX, as a user would write them: f(z, parameters)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from launch._benchmark.conv import EPSILON, Conv
from launch._benchmark.problem import Problem
from launch._benchmark.wide import Wide

PHI = {"relu": jax.nn.relu, "tanh": jnp.tanh, "gelu": lambda x: jax.nn.gelu(x, approximate=False)}


def jax_map(problem: Problem) -> Callable[[jax.Array, Any], jax.Array]:
    """f(z, parameters) of a problem."""
    if isinstance(problem, Conv):
        return lambda z, parameters: _residual_layer(z, parameters, problem.groups)
    assert isinstance(problem, Wide)
    phi = PHI[problem.activation]
    return lambda z, parameters: phi(z @ parameters["A"] + parameters["b"])


def _residual_layer(z: jax.Array, p: dict[str, jax.Array], groups: int) -> jax.Array:
    def norm(value: jax.Array, name: str) -> jax.Array:
        return _group_norm(value, groups, p[f"{name}.scale"], p[f"{name}.bias"])

    inner = norm(jax.nn.relu(_convolve(z, p["conv1.kernel"])), "norm1")
    change = norm(p["b"] + _convolve(inner, p["conv2.kernel"]), "norm2")
    return norm(jax.nn.relu(z + change), "norm3")


def _convolve(z: jax.Array, kernel: jax.Array) -> jax.Array:
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(z, kernel, (1, 1), "SAME", dimension_numbers=layout)


def _group_norm(z: jax.Array, groups: int, scale: jax.Array, bias: jax.Array) -> jax.Array:
    grouped = z.reshape(*z.shape[:3], groups, -1)
    mean = jnp.mean(grouped, axis=(1, 2, 4), keepdims=True)
    variance = jnp.var(grouped, axis=(1, 2, 4), keepdims=True)
    normal = (grouped - mean) * lax.rsqrt(variance + EPSILON)
    return normal.reshape(z.shape) * scale.reshape(1, 1, 1, -1) + bias.reshape(1, 1, 1, -1)
