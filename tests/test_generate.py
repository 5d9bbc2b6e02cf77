"""A text goes on as it was learned, wherever the solves start, and what cannot go on says so."""

from dataclasses import replace

import pytest
from flax import nnx

import deqzoo
from deqzoo import catalog
from deqzoo.models.causal import Causal
from deqzoo.runs.generate import GenerateError, generate
from deqzoo.settings import SettingError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "mine.txt"
    path.write_text("abcd" * 100)
    task = f"text(path={str(path)!r}, length=6, stride=1)"
    data = catalog.tasks.get(task).load()
    model = Causal(data.spec, data.outputs, width=8, embedding=4, heads=1, rngs=nnx.Rngs(0))
    return deqzoo.fit(model, task, steps=40, batch_size=16, learning_rate=0.03, eval_every=40)


def test_warm_starts_save_steps_and_change_no_character(run):
    warm, cold = (generate(run, "ab", 12, temperature=0, warm=warm) for warm in (True, False))
    assert warm.text == cold.text == "cdabcdabcdab"
    assert warm.steps < cold.steps
    assert warm.failed == cold.failed == 0
    assert warm.speed > 0


def test_draws_belong_to_their_seed(run):
    one, same, other = (
        generate(run, "a", 8, temperature=50.0, seed=seed).text for seed in (0, 0, 1)
    )
    assert one == same != other
    assert {*one} <= {*"abcd"}


@pytest.mark.parametrize(
    ("prompt", "settings", "message"),
    [
        ("", {}, "the prompt is empty: it needs at least one character"),
        ("abz", {}, "the prompt has 'z'"),
        ("a", {"length": 0}, r"length must be .*, got 0"),
        ("a", {"temperature": -1.0}, r"temperature must be .*, got -1.0"),
    ],
)
def test_what_cannot_go_on_says_so(run, prompt, settings, message):
    with pytest.raises((GenerateError, SettingError), match=message):
        generate(run, prompt, **settings)


def test_a_run_of_no_text_is_refused(run):
    other = replace(run, config=replace(run.config, task="parity"))
    with pytest.raises(GenerateError, match="trained on parity, which is no text"):
        generate(other, "a")
