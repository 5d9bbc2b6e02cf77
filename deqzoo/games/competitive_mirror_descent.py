"""Competitive mirror descent: both players move by the equilibrium of a local game."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from deqzoo.games.potential import Potential

Player = Float[Array, "..."]
Players = tuple[Player, Player]
Cost = Callable[[Player, Player], Float[Array, ""]]


class NoState(NamedTuple):
    """Nothing is kept between moves."""


def own_gradients(f: Cost, g: Cost, players: Players) -> Players:
    """∇_x f and ∇_y g, what ``competitive_mirror_descent`` takes as updates."""
    return jax.grad(f, 0)(*players), jax.grad(g, 1)(*players)


def competitive_mirror_descent(
    f: Cost, g: Cost, psi: Potential, phi: Potential, rtol: float = 1e-9
) -> optax.GradientTransformation:
    """Dx = -(D²ψ - D_xy f [D²φ]⁻¹ D_yx g)⁻¹(∇_x f - D_xy f [D²φ]⁻¹ ∇_y g), and y answers to it.

    dy = -[D²φ]⁻¹(∇_y g + D_yx g dx), which is the Nash equilibrium of the game in which mixed
    derivatives alone are of second order and Bregman divergences hold the players near. They move
    in the dual space, x <- (∇ψ)⁻¹(∇ψ(x) + D²ψ(x) dx), and never leave the sets of their potentials.
    The linear system is solved by GMRES with products of derivatives, preconditioned by D²ψ.

    Args:
        f: what x makes small.
        g: what y makes small; -f in a zero-sum game.
        psi: the potential of x.
        phi: of y.
        rtol: of the linear system.

    Returns:
        A transformation in the form of optax of (x, y), whose updates are ``own_gradients``.

    References:
        Schäfer, Anandkumar and Owhadi, "Competitive Mirror Descent", arXiv 2006.10179.
    """

    def update(updates: Any, state: NoState, params: Any = None) -> tuple[Any, NoState]:
        if params is None:
            raise ValueError("competitive_mirror_descent moves players: give update params=(x, y)")
        x, y = params
        to_x = partial(_mixed, lambda y: jax.grad(f, 0)(x, y), y)
        to_y = partial(_mixed, lambda x: jax.grad(g, 1)(x, y), x)

        def system(move: Player) -> Player:
            return psi.hessian(x, move) - to_x(phi.solve(y, to_y(move)))

        force = updates[0] - to_x(phi.solve(y, updates[1]))
        solve = partial(jax.scipy.sparse.linalg.gmres, tol=rtol, solve_method="batched")
        dx = -solve(system, force, M=partial(psi.solve, x))[0]
        dy = -phi.solve(y, updates[1] + to_y(dx))
        after = psi.step(x, dx), phi.step(y, dy)
        return jax.tree.map(jnp.subtract, after, (x, y)), state

    return optax.GradientTransformation(lambda _: NoState(), update)  # pyright: ignore[reportArgumentType]


def _mixed(slope: Callable[[Player], Player], at: Player, move: Player) -> Player:
    """The derivative of a slope along a move of the other player."""
    return jax.jvp(slope, (at,), (move,))[1]
