"""Wave functions of closed pairs in orbitals that are an equilibrium: seniority zero."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deqzoo.core.fixed_point import fixed_point
from deqzoo.core.solution import Solution
from deqzoo.experiments._chain import Hamiltonian


def equilibrium(
    hamiltonian: Hamiltonian, step_size: float, start: Float[Array, "1 k"], solver: str
) -> Solution:
    """κ = κ - η ∂E/∂κ: orbitals turned by exp(κ - κᵀ) in which E is stationary.

    Its derivatives are solved for directly: κ has few entries.
    """

    def fn(turn, hamiltonian):
        slope = jax.vmap(jax.grad(energy), (0, None))(turn, hamiltonian)
        return turn - step_size * slope

    adjoint = "implicit(solver='lu')"
    return fixed_point(fn, start, hamiltonian, solver=solver, adjoint=adjoint)


def energy(turn: Float[Array, " k"], hamiltonian: Hamiltonian) -> Float[Array, ""]:
    """E(κ): the lowest eigenvalue among closed pairs, at half filling."""
    turned = hamiltonian.rotated(orbitals(turn, len(hamiltonian.one)))
    return jnp.linalg.eigvalsh(matrix(turned))[0] + hamiltonian.constant


def observables(turn: Float[Array, " k"], hamiltonian: Hamiltonian) -> Float[Array, " n+1"]:
    """E, and of every orbital by how many electrons of one spin it is occupied."""
    turned = hamiltonian.rotated(orbitals(turn, len(hamiltonian.one)))
    energies, vectors = jnp.linalg.eigh(matrix(turned))
    occupations = jnp.square(vectors[:, 0]) @ _filled(len(hamiltonian.one))
    return jnp.concatenate([energies[:1] + hamiltonian.constant, occupations])


def orbitals(turn: Float[Array, " k"], count: int) -> Float[Array, "n n"]:
    """exp(κ - κᵀ) of the entries above the diagonal of κ.

    Taylor's series for a 16th of it, squared four times: exact to rounding up to ‖κ - κᵀ‖₂ = 4, and
    with its derivatives compiled in half the time of ``expm``.
    """
    upper = jnp.zeros((count, count), turn.dtype).at[np.triu_indices(count, 1)].set(turn)
    part, unit = (upper - upper.T) / 16, jnp.eye(count, dtype=turn.dtype)
    found = unit
    for degree in range(12, 0, -1):
        found = unit + part @ found / degree
    for _ in range(4):
        found = found @ found
    return found


def matrix(hamiltonian: Hamiltonian) -> Float[Array, "configurations configurations"]:
    """The Hamiltonian among closed-shell configurations a at half filling, less its constant.

    H_aa = Σ_{p in a} (2h_pp + (pp|pp)) + Σ_{p<q in a} 2(2(pp|qq) - (pq|qp)), and (pq|pq) where one
    pair moves from p to q.
    """
    filled = _filled(len(hamiltonian.one))
    coulomb = jnp.einsum("ppqq->pq", hamiltonian.two)
    exchange = jnp.einsum("pqqp->pq", hamiltonian.two)
    own = 2 * jnp.diag(hamiltonian.one) + jnp.diag(coulomb)
    mutual = (2 * coulomb - exchange) * (1 - np.eye(len(own)))
    diagonal = filled @ own + jnp.einsum("ap,aq,pq->a", filled, filled, mutual)
    moved = filled[:, None] - filled
    one_moves = np.sum(np.abs(moved), axis=2) == 2
    hops = exchange[np.argmax(moved, axis=2), np.argmin(moved, axis=2)]
    return jnp.diag(diagonal) + jnp.where(one_moves, hops, 0)


def _filled(count: int) -> np.ndarray:
    """Which orbitals each configuration fills, (configurations, orbitals) of 0 and 1."""
    configurations = itertools.combinations(range(count), count // 2)
    return np.array([[float(p in each) for p in range(count)] for each in configurations])
