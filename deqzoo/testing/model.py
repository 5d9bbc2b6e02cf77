"""Every model: small by default, a function of its examples one by one, and what it guarantees.

``check_model("my_model", task="my_task")`` builds it for the examples of a task.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import chex
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from flax import nnx

from deqzoo.data.spec import described
from deqzoo.nn.model import Model
from deqzoo.testing.check import Check, require
from deqzoo.testing.subject import Subject

__all__ = ["check_model"]

_SMALL = 2_000_000  # parameters that a laptop trains


def _apply(model: Model, x: Any) -> tuple[Any, Any]:
    return nnx.jit(lambda model, x: model(x))(model, x)


def _the_defaults_fit_a_laptop(subject: Subject) -> None:
    model = subject.build()
    require(isinstance(model, Model), f"{type(model)} derives from deqzoo.nn.Model no more")
    count = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
    require(0 < count <= _SMALL, f"it has {count} parameters for {described(subject.data.spec)}")


def _outputs_are_finite_and_of_the_promised_shape(subject: Subject) -> None:
    model, classes = subject.build(), subject.data.classes
    outputs, solution = _apply(model, subject.x)
    expected = subject.y.shape if classes is None else (*subject.y.shape, classes)
    chex.assert_shape(outputs, expected)
    chex.assert_type(outputs, jnp.float32)
    chex.assert_tree_all_finite((outputs, solution.value))
    chex.assert_shape(solution.stats.steps, expected[:1])
    if model.guarantees():
        solution.check()


def _every_parameter_and_real_input_has_a_finite_gradient(subject: Subject) -> None:
    graph, state = nnx.split(subject.build())
    real = all(np.issubdtype(leaf.dtype, np.floating) for leaf in jax.tree.leaves(subject.x))

    def loss(state, x):
        return jnp.sum(jnp.square(nnx.merge(graph, state)(x)[0]))

    slopes = jax.jit(jax.grad(loss, argnums=(0, 1) if real else (0,), allow_int=True))
    for path, leaf in jax.tree_util.tree_leaves_with_path(slopes(state, subject.x)):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            name = jax.tree_util.keystr(path)
            require(np.all(np.isfinite(leaf)), f"the gradient at {name} is not finite")
            require(np.any(leaf != 0), f"the gradient at {name} is zero")


def _no_example_sees_its_neighbours(subject: Subject) -> None:
    model, x = subject.build(), subject.x
    plain = _apply(model, x)[0]
    for mate in (np.zeros_like, _spoilt, np.flip):
        mixed = jax.tree.map(lambda a, mate=mate: np.concatenate([a[:-1], mate(a)[-1:]]), x)
        changed = _apply(model, mixed)[0]
        chex.assert_trees_all_equal(changed[:-1], plain[:-1])


def _spoilt(array: np.ndarray) -> np.ndarray:
    """NaN where there is such a thing."""
    real = np.issubdtype(array.dtype, np.floating)
    return np.full_like(array, np.nan) if real else np.zeros_like(array)


def _equal_seeds_give_equal_models(subject: Subject) -> None:
    weights = [jax.tree.leaves(nnx.state(subject.build(seed), nnx.Param)) for seed in (0, 0, 1)]
    chex.assert_trees_all_equal(weights[0], weights[1])
    same = all(np.array_equal(a, b) for a, b in zip(weights[0], weights[2], strict=True))
    require(not same, "another seed draws the same weights")


def _it_is_its_weights(subject: Subject) -> None:
    # What is saved and loaded: a model of another seed with these arrays is this model.
    model, other = subject.build(0), subject.build(1)
    arrays = jax.tree.map(np.array, nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.RngState))))
    state = nnx.state(other, nnx.Not(nnx.RngState))
    nnx.replace_by_pure_dict(state, arrays)
    nnx.update(other, state)
    chex.assert_trees_all_equal(_apply(other, subject.x)[0], _apply(model, subject.x)[0])


def _it_computes_in_the_precision_of_its_parameters(subject: Subject) -> None:
    with jax.enable_x64(True):
        model = subject.build(dtype=jnp.float64)
        weights = nnx.to_pure_dict(nnx.state(model, nnx.Param))
        chex.assert_type(jax.tree.leaves(weights), jnp.float64)
        chex.assert_type(_apply(model, subject.x)[0], jnp.float64)


def _what_it_guarantees_holds_at_the_start(subject: Subject) -> None:
    for seed in range(3):
        model = subject.build(seed)
        parameters = nnx.to_pure_dict(nnx.state(model, nnx.Param))
        for guarantee in model.guarantees():
            bound = float(guarantee.bound(parameters))
            claim = f"{guarantee.quantity}: the bound at seed {seed} is {bound:.6g}"
            require(0 <= bound < 1, claim)
            sharp = guarantee.sharp_bound(parameters)
            require(sharp <= bound * (1 + 1e-5), f"{claim}, the sharper one {sharp:.6g}")


def _a_projection_meets_its_limit(subject: Subject) -> None:
    model = subject.build()
    parameters = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    grown = jax.tree.map(lambda leaf: 3 * leaf, parameters)
    for guarantee in model.guarantees():
        for change in (guarantee.project, guarantee.rescale):
            sharp = guarantee.sharp_bound(jax.jit(change)(grown, 0.9))
            limit = 1 if guarantee.by_construction else 0.9 * (1 + 1e-5)
            require(sharp <= limit, f"{change.__name__} to 0.9 leaves {sharp:.6g}")
            kept = jax.jit(change)(parameters, 0.999999)
            chex.assert_trees_all_equal_shapes_and_dtypes(kept, parameters)


def _it_can_be_exported_with_any_batch_size(subject: Subject) -> None:
    if importlib.util.find_spec("flatbuffers") is None:
        return
    model = subject.build()
    graph, state = nnx.split(model)
    (batch,) = jax.export.symbolic_shape("batch")
    spec = jax.tree.map(lambda a: jax.ShapeDtypeStruct((batch, *a.shape[1:]), a.dtype), subject.x)
    exported = jax.export.export(jax.jit(lambda x: nnx.merge(graph, state)(x)[0]))(spec)
    again = jax.export.deserialize(exported.serialize()).call(subject.x)
    chex.assert_trees_all_close(again, _apply(model, subject.x)[0], rtol=1e-3, atol=1e-3)


check_model = Check(
    "model",
    Subject.of,
    (
        _the_defaults_fit_a_laptop,
        _outputs_are_finite_and_of_the_promised_shape,
        _every_parameter_and_real_input_has_a_finite_gradient,
        _no_example_sees_its_neighbours,
        _equal_seeds_give_equal_models,
        _it_is_its_weights,
        _it_computes_in_the_precision_of_its_parameters,
        _what_it_guarantees_holds_at_the_start,
        _a_projection_meets_its_limit,
        _it_can_be_exported_with_any_batch_size,
    ),
)
