"""Continue a text with a trained model, from where its last equilibrium was."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Int

from deqzoo import catalog
from deqzoo.nn.model import Model
from deqzoo.runs.run import Run
from deqzoo.settings import In, fitted

_Length = Annotated[int, In("[1, inf)")]
_Temperature = Annotated[float, In("[0, inf)")]


class GenerateError(ValueError):
    """A run, or a prompt, that no text can be made of; the message says what to do."""


@dataclass(frozen=True)
class Continued:
    """A text, and what it cost.

    Attributes:
        text: what follows the prompt.
        steps: of the solver, mean of all characters.
        failed: characters whose solve did not converge.
        seconds: without those for the first two characters, in which programs are compiled.
    """

    text: str
    steps: float
    failed: int
    seconds: float

    @property
    def speed(self) -> float:
        """Characters per second behind the first two."""
        return (len(self.text) - 2) / self.seconds if len(self.text) > 2 else 0.0


def generate(
    run: Run,
    prompt: str,
    length: int = 100,
    *,
    temperature: float = 0.8,
    seed: int = 0,
    warm: bool = True,
) -> Continued:
    """The prompt's continuation, a character at a time: drawn from softmax(outputs/temperature).

    The model sees the last characters that its window takes. A solve starts where the last one
    ended, moved by one position with the window; the solver takes that start only where its
    residual is much smaller than that of the usual one.

    Args:
        run: of a model of sequences on the task ``text``.
        prompt: at least one character.
        length: of the continuation, at least 1.
        temperature: 0 for the likeliest character.
        seed: of the draws.
        warm: False to start every solve afresh.

    Raises:
        GenerateError: the run is of another task, the prompt is empty or has characters that the
            training part does not have.

    Example:
        >>> import deqzoo
        >>> from deqzoo.runs.generate import generate
        >>> data = "text(length=8)"
        >>> model = deqzoo.create_model("causal(width=8, embedding=4)", data, activation="tanh")
        >>> run = deqzoo.fit(model, data, steps=1, batch_size=8)
        >>> len(generate(run, "The ", 3).text)
        3
    """
    fitted("length", length, _Length)
    fitted("temperature", temperature, _Temperature)
    letters = _letters(run)
    tokens = _tokens(prompt, letters)
    state: Any = None
    key, steps, failed, began = jax.random.key(seed), [], 0, 0.0
    graph, weights = nnx.split(run.model)
    window = run.spec.shape[0]
    for number in range(length):
        row, last = _window(tokens, window)
        moved = _moved(state, len(tokens) > window) if warm else None
        outputs, stats, state = _solved(graph, weights, row, moved)
        tokens.append(_drawn(outputs[0, last], temperature, jax.random.fold_in(key, number)))
        steps.append(int(stats.steps[0]))
        failed += int(stats.fraction_converged < 1)
        began = time.perf_counter() if number <= 1 else began
    seconds = time.perf_counter() - began
    text = "".join(letters[token] for token in tokens[len(prompt) :])
    return Continued(text, float(np.mean(steps)), failed, seconds)


def _letters(run: Run) -> str:
    """The character of every token."""
    recipe = run.config.task
    vocabulary = None
    if recipe.startswith("text"):
        vocabulary = getattr(catalog.tasks.get(recipe), "vocabulary", None)
    if vocabulary is None:
        raise GenerateError(
            f"the run in {run.path} was trained on {recipe}, which is no text: train a model of "
            "sequences with --task=text or --task=text:FILE"
        )
    letters = vocabulary()
    if len(letters) != run.spec.size:
        raise GenerateError(
            f"the text of {recipe} has {len(letters)} tokens here, that of the run "
            f"{run.spec.size}: another file, or another version of Python"
        )
    return letters


def _tokens(prompt: str, letters: str) -> list[int]:
    unknown = sorted({*prompt} - {*letters[1:]})
    if not prompt or unknown:
        found = f"has {', '.join(map(repr, unknown))}" if prompt else "is empty"
        raise GenerateError(
            f"the prompt {found}: it needs at least one character, and those of the training part"
        )
    return [letters.index(letter) for letter in prompt]


def _window(tokens: list[int], size: int) -> tuple[Int[np.ndarray, "1 size"], int]:
    """The last tokens, filled up with zeros that nobody sees, and the place of the very last."""
    row = np.array(tokens[-size:], np.int32)
    return np.pad(row, (0, size - len(row)))[None], len(row) - 1


def _moved(state: Any, shifts: bool) -> Any:
    """An equilibrium where the window stands now; what has come in starts as its neighbour did."""
    if state is None or not shifts:
        return state
    # On the host, where nothing is compiled in the time that is measured.
    last = jax.tree.map(np.asarray, state)
    return jax.tree.map(lambda z: np.concatenate([z[:, 1:], z[:, -1:]], axis=1), last)


@jax.jit(static_argnums=0)
def _solved(graph: nnx.GraphDef, weights: Any, row: Array, guess: Any) -> tuple[Array, Any, Any]:
    model: Model = nnx.merge(graph, weights)
    outputs, solution = model(row, guess=guess)
    return outputs, solution.stats, solution.value


def _drawn(logits: Array, temperature: float, key: Array) -> int:
    known = logits.at[0].set(-jnp.inf)  # the token of no character
    if temperature == 0:
        return int(jnp.argmax(known))
    return int(jax.random.categorical(key, known / temperature))
