"""Wave functions of all configurations of a few electrons, and the way there from closed pairs."""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import Bool, Float

from deqzoo.experiments._chain import Hamiltonian


class AllConfigurations:
    """Those of half filling with as many electrons of either spin.

    Attributes:
        excitations: of p, q the matrix of E_pq = Σ_σ a†_pσ a_qσ.
        is_closed: which configurations have seniority zero.
    """

    excitations: Float[np.ndarray, "n n d d"]
    is_closed: Bool[np.ndarray, " d"]

    def __init__(self, count: int):
        one_spin = [*itertools.combinations(range(count), count // 2)]
        moves, same = _excitations(count, one_spin), np.eye(len(one_spin))
        up, down = (
            np.einsum("pqij,kl->pqikjl", moves, same),
            np.einsum("pqij,kl->pqkilj", moves, same),
        )
        self.excitations = (up + down).reshape(count, count, same.size, same.size)
        self.is_closed = same.astype(bool).ravel()

    def matrix(self, hamiltonian: Hamiltonian) -> Float[np.ndarray, "d d"]:
        """Σ h_pq E_pq + ½ Σ (pq|rs) (E_pq E_rs - δ_qr E_ps), less the constant."""
        one, two = np.asarray(hamiltonian.one), np.asarray(hamiltonian.two)
        E, one = self.excitations, one - np.einsum("prrq->pq", two) / 2
        both = np.einsum("pqij,rsjk,pqrs->ik", E, E, two, optimize=True)
        return np.einsum("pq,pqij->ij", one, E) + both / 2

    def occupations(self, state: Float[np.ndarray, " d"]) -> Float[np.ndarray, " n"]:
        """Of the natural orbitals by electrons of one spin, falling."""
        density = np.einsum("i,pqij,j->pq", state, self.excitations, state) / 2
        return np.linalg.eigvalsh(density)[::-1]


class Connection:
    """<V>_λ in the lowest state of H - V + λV, where V couples the closed pairs P to all others.

    Its integral over λ from 0 to 1 is the difference of the lowest energies of H and PHP (if at
    λ = 0 the lowest state is one of closed pairs), by the theorem of Hellmann and Feynman.
    """

    def __init__(self, H: Float[np.ndarray, "d d"], is_closed: Bool[np.ndarray, " d"]):
        self.V = H * (is_closed[:, None] != is_closed)
        self.start = H - self.V

    def __call__(self, strength: float) -> float:
        """<V>_λ."""
        state = np.linalg.eigh(self.start + strength * self.V)[1][:, 0]
        return float(state @ self.V @ state)

    def second_order(self) -> float:
        """Perturbation theory: half the slope of <V>_λ at 0."""
        energies, vectors = np.linalg.eigh(self.start)
        couplings = vectors.T @ self.V @ vectors[:, 0]
        return float(-np.sum(np.square(couplings[1:]) / (energies[1:] - energies[0])))

    def segments(self, count: int) -> float:
        """The integral of as many straight pieces through points of the curve."""
        ends = np.linspace(0, 1, count + 1)
        return float(np.trapezoid([*map(self, ends)], ends))

    def pade(self) -> float:
        """The integral of aλ/(1 + bλ) with the slope at 0 and the value at 1 of the curve."""
        slope = 2 * self.second_order()
        b = slope / self(1) - 1
        return float(slope * (b - np.log1p(b)) / b**2)

    def integral(self, nodes: int = 20) -> float:
        """By Gauss-Legendre."""
        x, weights = np.polynomial.legendre.leggauss(nodes)
        return float(weights @ [*map(self, (1 + x) / 2)]) / 2


def _excitations(count: int, configurations: list[tuple[int, ...]]) -> np.ndarray:
    """a†_p a_q among the configurations of one spin, with their signs."""
    place = {each: i for i, each in enumerate(configurations)}
    found = np.zeros((count, count, len(place), len(place)))
    for p, q in itertools.product(range(count), repeat=2):
        for each, column in place.items():
            rest = {*each} - {q}
            if q in each and p not in rest:
                between = sum(min(p, q) < r < max(p, q) for r in rest)
                found[p, q, place[tuple(sorted({*rest, p}))], column] = (-1) ** between
    return found
