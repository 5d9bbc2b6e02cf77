"""From flags to cells: what is an axis, what is refused, and that no two cells share a folder."""

import itertools

import pytest

from deqzoo import catalog
from deqzoo.sweeps import grid
from deqzoo.training import ConfigError, TrainConfig


def test_a_cell_for_every_combination_and_one_without_axes():
    given = {"activation": "relu,tanh", "width": "16,32,64", "steps": "7"}
    cells = grid.cells(given)
    expected = itertools.product(("relu", "tanh"), (16, 32, 64))
    assert [(cell.config.activation, cell.config.width) for cell in cells] == [*expected]
    assert {cell.config.steps for cell in cells} == {7}
    assert cells[1].name == "activation=relu, width=32"
    assert [cell.name for cell in grid.cells({})] == ["activation=gelu"]


@pytest.mark.parametrize("group", ["activations", "solvers", "adjoints", "optimizers"])
def test_every_recipe_is_one_value_however_many_commas_it_holds(group):
    """A list of all members, each with all of its defaults written out."""
    members = next(each for each in catalog.ALL if each.group == group)
    recipes = [f"{name}({', '.join(members.parameters(name))})" for name in members.names()]
    assert grid.split(",".join(recipes)) == recipes


@pytest.mark.parametrize(
    "recipe",
    [
        "implicit(solver='auto(max_steps=500, rtol=1e-5)')",
        "npz('a,b.npz')",
        "loss_curves(widths=(1, 2), data='sphere')",
        "odd(text='(')",
    ],
)
def test_commas_inside_brackets_and_quotes_do_not_separate(recipe):
    assert grid.split(f"relu, {recipe},tanh") == ["relu", recipe, "tanh"]


def test_flags_mean_what_they_mean_to_a_single_run():
    given = {"warm_start": "true", "batch_size": "full", "learning_rate": "1e-3", "width": "8"}
    (cell,) = grid.cells(given, plugin=("json",))
    alone = {"warm_start": True, "batch_size": "full", "learning_rate": "1e-3", "width": 8}
    assert cell.config == TrainConfig(**alone, plugin=("json",))
    assert {option.name for option in grid.flags()} == {*TrainConfig().to_dict()} - {
        "seed",
        "plugin",
    }


def test_folders_are_short_and_never_shared():
    solvers = ",".join(f"anderson(history={n}, ridge=1e-{n}, max_steps={n}00)" for n in range(1, 9))
    given = {"solver": solvers, "adjoint": "implicit(solver='picard'),implicit(solver='anderson')"}
    given |= {"task": "npz:a/b.npz,npz:a-b.npz,npz:a b.npz", "activation": "relu,tanh"}
    folders = [cell.folder for cell in grid.cells(given)]
    assert len({*folders}) == len(folders) == 8 * 2 * 3 * 2
    assert all(len(folder) < 200 and "/" not in folder for folder in folders)
    assert folders == [cell.folder for cell in grid.cells(given)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"width": "16,0"}, "cell width=0: --width must be a whole number >= 1 or None, got 0"),
        ({"width": "16,wide"}, "--width must be a whole number, got 'wide'"),
        ({"activation": "relu,,tanh"}, "--activation holds an empty value: got 'relu,,tanh'"),
        ({"width": "16,016"}, "--width names 16 twice: got '16,016'"),
        ({"certify": "maybe"}, "--certify must be true or false, got 'maybe'"),
        (
            {"warm_start": "false,true", "activation": "relu,tanh"},
            "cell warm_start=True, activation=relu: --warm_start needs the same examples in every "
            "step: add --batch_size=full",
        ),
        ({"steps": "0"}, "--steps must be a whole number >= 1, got 0"),
    ],
)
def test_impossible_values_name_their_flag_and_cell(given, message):
    with pytest.raises(ConfigError) as caught:
        grid.cells(given)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "expected"), [("3", (0, 1, 2)), ("0,3,7", (0, 3, 7)), ("7,", (7,)), ("1", (0,))]
)
def test_seeds(text, expected):
    assert grid.seeds(text) == expected


@pytest.mark.parametrize("text", ["0", "", "-1", "two", "1,1", "1,,2", "1.5", f"{2**32},"])
def test_impossible_seeds(text):
    with pytest.raises(ConfigError, match="--seeds must be"):
        grid.seeds(text)


def test_the_parts_share_out_every_cell_once():
    for count, parts in itertools.product((1, 5, 12), (1, 3, 12, 20)):
        shared = [number for k in range(parts) for number in grid.part(f"{k}/{parts}", count)]
        assert sorted(shared) == [*range(count)]
    assert grid.part("", 5) == range(5)


@pytest.mark.parametrize("text", ["3/3", "1", "-1/2", "a/b", "0/0"])
def test_impossible_parts(text):
    with pytest.raises(ConfigError, match="--part must be K/N with 0 <= K < N"):
        grid.part(text, 5)
