"""A complex state is solved and differentiated as its real and imaginary parts are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deqzoo

A = np.array([[0.3 + 0.4j, -0.1j, 0.2], [0.1, 0.25 - 0.2j, 0.1j], [0.0, 0.2j, -0.4]])
X = np.array([[1 + 1j, 2 - 1j, 0.5j], [0.3, -1j, 2 + 2j]])


def affine(z, args):
    weights, x = args
    return z @ weights.T + x


def solved(x, weights=A, **settings):
    settings = {"solver": "auto(rtol=1e-12)", **settings}
    return deqzoo.fixed_point(affine, jnp.zeros(X.shape, complex), (weights, x), **settings)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("solver", ["picard", "anderson", "broyden", "newton_krylov"])
def test_the_value_is_the_solution_of_the_linear_system(solver):
    solution = solved(X, solver=f"{solver}(rtol=1e-12)").check()
    np.testing.assert_allclose(solution.value, np.linalg.solve(np.eye(3) - A, X.T).T, rtol=1e-11)
    residual = np.linalg.norm(affine(solution.value, (A, X)) - solution.value, axis=1)
    np.testing.assert_allclose(solution.stats.residual, residual, atol=1e-15)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("adjoint", ["implicit(solver='bicgstab(rtol=1e-12)')", "unrolled"])
def test_the_gradient_is_that_of_the_linear_system(adjoint):
    loss = lambda z: jnp.sum(jnp.abs(z) ** 2 * jnp.arange(6.0).reshape(2, 3))  # noqa: E731
    direct = lambda w, x: loss(jnp.linalg.solve(jnp.eye(3) - w, x.T).T)  # noqa: E731
    found = lambda w, x: loss(solved(x, w, adjoint=adjoint).value)  # noqa: E731
    for ours, theirs in zip(
        jax.grad(found, (0, 1))(A, X), jax.grad(direct, (0, 1))(A, X), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-7)


@pytest.mark.usefixtures("x64")
def test_a_map_that_is_not_holomorphic_equals_the_map_of_its_parts():
    def whole(z, x):
        return {"c": 0.4 * jnp.conj(z["c"]) + jnp.tanh(z["r"])[:, :, None] * x, "r": 0.1 * z["r"]}

    def in_parts(z, x):
        real, imag = 0.4 * z["re"], -0.4 * z["im"]
        drive = jnp.tanh(z["r"])[:, :, None]
        return {"re": real + drive * x.real, "im": imag + drive * x.imag, "r": 0.1 * z["r"]}

    ones, x = jnp.ones((2, 3, 1)), jnp.full((2, 3, 1), 1 - 2j)
    complex_start = {"c": ones * (1 + 1j), "r": ones[:, :, 0]}
    a = deqzoo.fixed_point(whole, complex_start, x, solver="picard")
    b = deqzoo.fixed_point(
        in_parts, {"re": ones, "im": ones, "r": ones[:, :, 0]}, x, solver="picard"
    )
    np.testing.assert_array_equal(a.stats.steps, b.stats.steps)
    np.testing.assert_allclose(a.value["c"], b.value["re"] + 1j * b.value["im"], rtol=1e-14)


def test_guess_trajectory_aux_and_backward_statistics_go_with_it():
    def with_aux(z, args):
        return affine(z, args), jnp.sum(z, axis=1)

    z0, args = jnp.zeros(X.shape, jnp.complex64), (A.astype(np.complex64), X.astype(np.complex64))
    first = deqzoo.fixed_point(with_aux, z0, args, has_aux=True, solver="picard(trajectory=(2,))")
    np.testing.assert_allclose(first.aux, jnp.sum(first.value, axis=1), rtol=1e-6)
    np.testing.assert_allclose(first.trajectory[0], affine(affine(z0, args), args), rtol=1e-6)
    again = deqzoo.fixed_point(affine, z0, args, guess=first.value)
    assert np.all(again.stats.steps < first.stats.steps)
    loss = lambda x, back: jnp.sum(  # noqa: E731
        jnp.abs(deqzoo.fixed_point(affine, z0, (args[0], x), backward=back).value)
    )
    report = jax.grad(loss, (0, 1))(args[1], deqzoo.Backward.empty(z0))[1]
    assert report.stats.residual.dtype == jnp.float32
    assert np.all(report.stats.steps > 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fn": lambda z, _: jnp.abs(z)}, "fn returned float32"),
        ({"fn": lambda z, _: 0.5 * z, "guess": jnp.zeros((2, 3))}, "guess is float32"),
        (
            {"fn": lambda z, _: z, "backward": "kept"},
            "backward solution of a complex state cannot be kept",
        ),
        ({"fn": deqzoo.Split("relu", lambda z, _: 0.5 * z)}, "a Split takes real states"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    z0 = jnp.zeros((2, 3), jnp.complex64)
    if options.get("backward"):
        options = {**options, "backward": deqzoo.Backward.empty(z0, keeps_solution=True)}
    with pytest.raises(ValueError, match=message):
        deqzoo.fixed_point(options.pop("fn"), z0, **options)
