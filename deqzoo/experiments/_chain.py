"""Electrons on a chain: their Hamiltonian in orthogonal orbitals, of a model or of hydrogen."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import erf

_EXPONENTS = np.array([3.425250914, 0.6239137298, 0.1688554040])  # STO-3G of hydrogen, 1s, ζ = 1.24
_COEFFICIENTS = np.array([0.1543289673, 0.5353281423, 0.4446345422])  # of normalised Gaussians


class Hamiltonian(NamedTuple):
    """Σ h_pq a†_pσ a_qσ + ½ Σ (pq|rs) a†_pσ a†_rτ a_sτ a_qσ + constant, of 2 · pairs electrons.

    Attributes:
        one: h.
        two: (pq|rs), in the chemists' order.
        constant: what the nuclei repel each other by.
    """

    one: Float[Array | np.ndarray, "n n"]
    two: Any  # Float[..., "n n n n"]; a ShapeDtypeStruct where it is only traced
    constant: Any = 0.0

    def rotated(self, orbitals: Float[Array, "n n"]) -> Hamiltonian:
        """In other orthogonal orbitals, the columns of the matrix."""
        two = self.two
        for _ in range(4):  # an index goes in front, a new one comes behind
            two = jnp.tensordot(two, orbitals, ((0,), (0,)))
        return Hamiltonian(orbitals.T @ self.one @ orbitals, two, self.constant)


def hubbard(sites: int, repulsion: Any, field: float) -> Hamiltonian:
    """A chain of sites with hopping -1, U n_↑n_↓ on each and ±field on every other."""
    hopping = -np.eye(sites, k=1) - np.eye(sites, k=-1)
    same = np.zeros((sites,) * 4)
    same[(np.arange(sites),) * 4] = 1
    return Hamiltonian(hopping + np.diag(field * (-1.0) ** np.arange(sites)), repulsion * same)


def hydrogen(atoms: int, distance: float) -> Hamiltonian:
    """A chain of hydrogen atoms in STO-3G: s functions, three Gaussians each, orthogonalised.

    Energies in hartree, lengths in bohr. Products of two Gaussians are Gaussians, whose Coulomb
    integrals are F₀(t) = ½ √(π/t) erf √t.
    """
    nuclei = distance * np.arange(atoms)
    a, centre = np.tile(_EXPONENTS, atoms), np.repeat(nuclei, len(_EXPONENTS))
    p = a[:, None] + a
    reduced, middle = a[:, None] * a / p, (a[:, None] * centre[:, None] + a * centre) / p
    squared = (centre[:, None] - centre) ** 2
    faded = np.exp(-reduced * squared)
    overlap = (np.pi / p) ** 1.5 * faded
    kinetic = reduced * (3 - 2 * reduced * squared) * overlap
    attraction = [-2 * np.pi / p * faded * _boys(p * (middle - x) ** 2) for x in nuclei]
    left, left_middle = p[:, :, None, None], middle[:, :, None, None]
    size = 2 * np.pi**2.5 / (left * p * np.sqrt(left + p))
    repulsion = size * faded[:, :, None, None] * faded
    repulsion *= _boys(left * p / (left + p) * (left_middle - middle) ** 2)
    weights = _COEFFICIENTS * (2 * _EXPONENTS / np.pi) ** 0.75
    contracted = np.kron(np.eye(atoms), weights[:, None])
    values, vectors = np.linalg.eigh(contracted.T @ overlap @ contracted)
    orbitals = contracted @ (vectors / np.sqrt(values)) @ vectors.T
    nuclear = sum(1 / (y - x) for x, y in itertools.combinations(nuclei.tolist(), 2))
    raw = Hamiltonian(kinetic + sum(attraction), repulsion, nuclear)
    one, two, constant = raw.rotated(jnp.asarray(orbitals))
    return Hamiltonian(np.asarray(one), np.asarray(two), constant)


def _boys(t: np.ndarray) -> np.ndarray:
    """F₀(t) = ∫₀¹ exp(-t x²) dx, 1 - t/3 near 0."""
    root = np.sqrt(np.where(t < 1e-12, 1, t))
    return np.where(t < 1e-12, 1 - t / 3, np.sqrt(np.pi) / 2 * erf(root) / root)
