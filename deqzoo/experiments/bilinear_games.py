"""Positive bilinear games: competitive mirror descent against what players do otherwise."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from deqzoo.analysis.experiment import Experiment, Say
from deqzoo.games import Entropy, competitive_mirror_descent, own_gradients
from deqzoo.settings import In

__all__ = ["BilinearGames"]

Players = tuple[jax.Array, jax.Array]

_SADDLE = 0.1
_START = (0.4, 0.3)
_EXPECTED = {  # distances after 2000 steps, found earlier with other code
    "competitive": (9.5e-2, 4.3e-2, 2.2e-12, 3.1e-17),
    "extragradient": (6.0e-6, 3.1e-17, 1.1e-1, 6.2),
    "multiplicative": (0.22, 0.13, 0.14, 0.14),
}


@dataclass(frozen=True)
class BilinearGames(Experiment):
    """Min over x > 0, max over y > 0 of b (x - .1)(y - .1): the distance from (.1, .1) by step.

    From (.4, .3) with step size 1: competitive mirror descent under the entropy, projected
    extragradient, and multiplicative weights of both players at once. The stronger the game, the
    faster the first; the second has a strength from which on it fails, and the third never comes
    near. In weak games extragradient is the better one.

    The defaults take a quarter of a minute on two cores.

    Attributes:
        levels: l, of strength b = .1·4^l.
        steps: of every method.

    References:
        Schäfer, Anandkumar and Owhadi, "Competitive Mirror Descent", arXiv 2006.10179, whose games
        these are.
    """

    levels: tuple[Annotated[int, In("[0, 6]")], ...] = (0, 1, 2, 3)
    steps: Annotated[int, In("[1, inf)")] = 2000

    def run(self, folder: Path, say: Say = print) -> dict[str, Any]:
        """One cell per level and method."""
        with self.cells(folder, say) as cells:
            curves = [
                {
                    "method": method,
                    "level": level,
                    "distances": cells.get(
                        f"{method}, l = {level}", functools.partial(self._distances, method, level)
                    ),
                }
                for level in self.levels
                for method in _METHODS
            ]
        return {"curves": curves, "table": [self._row(curve) for curve in curves]}

    def _distances(self, method: str, level: int) -> list[float]:
        """From the saddle point, before the first step and after every one."""
        with jax.enable_x64(True):
            move = functools.partial(_METHODS[method], 0.1 * 4.0**level)
            start = tuple(jnp.array([entry]) for entry in _START)
            walk = lambda players, _: (move(players), jnp.concatenate(players))  # noqa: E731
            _, path = jax.lax.scan(walk, start, length=self.steps + 1)
        return np.linalg.norm(np.asarray(path) - _SADDLE, axis=1).tolist()

    def _row(self, curve: dict[str, Any]) -> dict[str, Any]:
        level, expected = curve["level"], _EXPECTED[curve["method"]]
        known = self.steps == 2000 and level < len(expected)
        return {
            "strength": f"0.1·4^{level}",
            "method": curve["method"],
            f"distance after {self.steps}": curve["distances"][-1],
            "expected": f"{expected[level]:.1e}" if known else "-",
        }

    def draw(self, results: dict[str, Any], path: Path) -> Path:
        """A panel for each strength."""
        from deqzoo.analysis.figure import figure

        with figure(path, 1, len(self.levels), (3 * len(self.levels), 3.4), sharey=True) as drawn:
            for axis, level in zip(drawn[1][0], self.levels, strict=True):
                for curve in results["curves"]:
                    if curve["level"] == level:
                        shown = np.maximum(curve["distances"], 1e-17)
                        axis.plot(shown, label=curve["method"])
                axis.set(yscale="log", xlabel="step", title=f"b = {0.1 * 4**level:g}")
            drawn[1][0][0].set_ylabel("distance from the saddle point")
            drawn[1][0][0].legend(frameon=False)
        return path


def _competitive(strength: float, players: Players) -> Players:
    f = lambda x, y: jnp.sum(strength * (x - _SADDLE) * (y - _SADDLE))  # noqa: E731
    g = lambda x, y: -f(x, y)  # noqa: E731
    rule = competitive_mirror_descent(f, g, Entropy(), Entropy())
    moves, _ = rule.update(own_gradients(f, g, players), rule.init(players), players)
    after: Any = optax.apply_updates(players, moves)
    return after


def _extragradient(strength: float, players: Players) -> Players:
    x, y = _projected(strength, players, players)
    return _projected(strength, players, (x, y))


def _projected(strength: float, players: Players, at: Players) -> Players:
    """A step by the gradients at another place."""
    (x, y), (there_x, there_y) = players, at
    down, up = strength * (there_y - _SADDLE), strength * (there_x - _SADDLE)
    return jnp.maximum(x - down, 0), jnp.maximum(y + up, 0)


def _multiplicative(strength: float, players: Players) -> Players:
    x, y = players
    return x * jnp.exp(-strength * (y - _SADDLE)), y * jnp.exp(strength * (x - _SADDLE))


_METHODS: dict[str, Callable[[float, Players], Players]] = {
    "competitive": _competitive,
    "extragradient": _extragradient,
    "multiplicative": _multiplicative,
}
