"""The zoo's front door: what is shipped is what its card says, and nothing else is ever loaded."""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flax import nnx
from rich.console import Console

import deqzoo
from deqzoo import catalog
from deqzoo.analysis.metric import Metric
from deqzoo.catalog import CatalogError
from deqzoo.data.examples import Split, TaskError
from deqzoo.data.losses.square import Square
from deqzoo.models.classifier import Classifier
from deqzoo.models.mondeq import MonDEQ
from deqzoo.nn.guarantee import NOTHING
from deqzoo.nn.model import Model
from deqzoo.nn.pure_model import PureModel
from deqzoo.storage import files, shelf, tensors
from deqzoo.storage.sealed import sealed, unsealed
from deqzoo.storage.shelf import ShelfError
from deqzoo.storage.tensors import TensorFile, TensorsError
from deqzoo.storage.workdir import Workdir, WorkdirError
from deqzoo.training import ConfigError, TrainConfig
from deqzoo.training.setup import Setup
from deqzoo.zoo import build as building
from deqzoo.zoo import measure as measuring
from deqzoo.zoo.blueprint import InputError
from deqzoo.zoo.card import Card, CardError
from deqzoo.zoo.check import LARGEST, LARGEST_OF_ALL, Checked, check
from deqzoo.zoo.create_model import CreateError
from deqzoo.zoo.list_models import KindError
from deqzoo.zoo.measure import measure
from deqzoo.zoo.members import MEMBERS, Member
from deqzoo.zoo.packed import Packed
from deqzoo.zoo.pretrained import Pretrained
from deqzoo.zoo.proofs import Labels, Proofs, Radii, proofs
from deqzoo.zoo.remeasure import remeasure
from deqzoo.zoo.results import Results
from deqzoo.zoo.save_pretrained import UnsavableError
from deqzoo.zoo.table import placed, table
from deqzoo.zoo.without import Without
from launch import _command, zoo

ROOT = Path(__file__).resolve().parent.parent
NAME, SMALL = "mondeq-digits-gelu", "classifier-digits-tanh"
RAW = catalog.tasks.get("digits").divided().test.x
TINY = Member(
    "classifier(width=4)", "tanh", "sphere(examples=24, dimension=3)", 4, 1e-2, batch_size="8"
)


@pytest.fixture(scope="module")
def member():
    return deqzoo.load(NAME)


@pytest.fixture
def pair(tmp_path):
    """A copy of the two files of a member, to be damaged."""
    for ending in (shelf.WEIGHTS, shelf.CARD):
        shutil.copy(shelf.FOLDER / f"{NAME}{ending}", tmp_path)
    return tmp_path / f"{NAME}{shelf.WEIGHTS}"


def arrays(model):
    return jax.tree.leaves(PureModel(model).state)


def equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def rewritten(pair, **changes):
    """The pair with another card, sealed as it should be."""
    card = pair.with_suffix(shelf.CARD)
    dataclasses.replace(Card.read(card), **changes).write(card)
    return pair


# What is shipped.


@pytest.mark.slow
@pytest.mark.parametrize("name", shelf.names())
def test_a_shipped_member_is_what_its_card_says(name):
    found = check(name)
    assert not found.wrong
    assert found.outputs < 1e-5


def test_the_shelf_is_the_table_and_small():
    assert set(shelf.names()) == {each.name for each in MEMBERS}
    sizes = {
        name: sum(f.stat().st_size for f in shelf.FOLDER.glob(f"{name}.*"))
        for name in shelf.names()
    }
    assert max(sizes.values()) <= LARGEST
    assert sum(sizes.values()) <= LARGEST_OF_ALL


@pytest.mark.parametrize("each", MEMBERS, ids=lambda each: each.name)
def test_a_card_has_the_settings_of_its_line_and_its_seeds(each):
    card = Card.read(shelf.FOLDER / f"{each.name}{shelf.CARD}")
    assert card.blueprint.config == dataclasses.replace(each.config, seed=0)
    assert card.results.seeds == tuple(range(len(card.results.seeds)))
    assert len(card.results.seeds) == 5
    assert card.command == building.command(each, card.results.seeds)
    assert set(map(int, card.results.after)) >= {1, 2, 3, 5, 8, 12, 20}
    assert card.results.starts == 8


def test_the_page_is_what_the_command_writes():
    page = (ROOT / "docs/zoo.md").read_text()
    cards = [Card.read(shelf.FOLDER / f"{name}{shelf.CARD}") for name in shelf.names()]
    assert page == placed(page, table(cards)), "run: python -m launch.zoo table"


def test_evaluation_reproduces_the_card(member):
    results = member.card.results
    found = member.evaluate().metrics
    assert found["accuracy"] == pytest.approx(results.values[0], abs=1e-6)
    assert found["solver_steps"] == pytest.approx(results.forward_steps, abs=0.5)
    raw = member.evaluate((RAW, catalog.tasks.get("digits").divided().test.y)).metrics
    assert raw == found


def test_a_check_sees_a_card_that_says_something_else(pair):
    card = Card.read(pair.with_suffix(shelf.CARD))
    far = tuple(tuple(value + 1e-2 for value in row) for row in card.reference)
    lower = tuple(value - 0.05 for value in card.results.values)
    results = dataclasses.replace(card.results, values=lower)
    rewritten(pair, reference=far, results=results, promises=())
    words = "; ".join(check(pair).wrong)
    assert "16 outputs differ by" in words
    assert "accuracy" in words
    assert "level A is proved, the card has level C" in words


def test_where_the_data_are_not_the_outputs_are_still_compared(pair, monkeypatch):
    def absent(self):
        raise TaskError("apt install it")

    monkeypatch.setattr(Pretrained, "data", absent)
    found = check(pair)
    assert (found.wrong, found.value) == ((), None)
    far = tuple(tuple(value + 1e-2 for value in row) for row in found_card(pair).reference)
    assert "16 outputs differ by" in "; ".join(check(rewritten(pair, reference=far)).wrong)


def found_card(pair):
    return Card.read(pair.with_suffix(shelf.CARD))


# What is proved, example by example.


@pytest.mark.parametrize("name", shelf.names())
def test_certified_is_at_most_attacked_is_at_most_clean(name):
    results = Card.read(shelf.FOLDER / f"{name}{shelf.CARD}").results
    found = results.proofs
    assert found.faults == ()
    assert (found.examples, results.looked_at) == (min(results.examples, 1000),) * 2
    assert found.reasons.keys() == {
        each for each in ("radii", "labels", "equilibria") if getattr(found, each) is None
    }
    if found.radii is not None:
        radii = found.radii
        assert radii.radii == tuple(sorted(radii.radii))
        assert radii.certified == tuple(sorted(radii.certified, reverse=True))
        if found.examples == results.examples:
            assert abs(radii.clean - results.values[0] * results.examples) < 0.5
    if found.labels is not None:
        assert [*found.labels.final] == ["5", "8", "12", "20"]


NOT_PROVED = Proofs(examples=3, radii=None, labels=None, equilibria=None, reasons={"radii": "no"})


def test_faults_and_roundings_of_proofs():
    balls = Radii(radii=(0.1, 0.5), certified=(2, 1), attacked=(2, 2), clean=2)
    labels = Labels(final={"5": 1}, violations=0)
    fine = dataclasses.replace(NOT_PROVED, radii=balls, labels=labels, equilibria=2)
    assert fine.brief == (
        "33.33 % of the labels after 5 steps, accuracy 66.66 % at radius 0.1, 33.33 % at radius "
        "0.5, 66.66 % of the equilibria"
    )
    assert NOT_PROVED.brief == "nothing"
    assert (fine.faults, fine.share(2), fine.share(1)) == ((), "66.66", "33.33")
    for worse in ({"certified": (2, 3)}, {"attacked": (3, 2)}):
        bad = dataclasses.replace(fine, radii=dataclasses.replace(balls, **worse))
        assert len(bad.faults) == 1
    bad = dataclasses.replace(fine, labels=dataclasses.replace(labels, violations=1))
    assert bad.faults == ("1 labels that were proved final changed",)


def test_a_check_sees_proofs_that_cannot_be(pair):
    results = found_card(pair).results
    radii = dataclasses.replace(results.proofs.radii, attacked=(0,) * 6)
    proofs = dataclasses.replace(results.proofs, radii=radii)
    rewritten(pair, results=dataclasses.replace(results, proofs=proofs))
    assert "labels are proved, an attack leaves 0" in "; ".join(check(pair).wrong)


def test_a_card_shows_what_is_proved_or_why_nothing_is(member):
    rows, found = dict(member.card.rows), member.card.results.proofs
    for radius, *counts in zip(
        found.radii.radii, found.radii.certified, found.radii.attacked, strict=True
    ):
        both = " / ".join(f"{np.floor(1e4 * n / found.examples) / 100:.2f}" for n in counts)
        assert f"{radius:g}: {both} %" in rows["proved robust"]
    assert "0 of them changed" in rows["labels proved final"]
    assert rows["equilibria proved"].endswith("one by one (level B)")
    nothing = dataclasses.replace(member.card.results, proofs=NOT_PROVED)
    card = dataclasses.replace(member.card, results=nothing)
    assert dict(card.rows)["proved robust"] == "nothing is proved: no"
    assert f"- `{NAME}`: no" in table([card])
    assert f"| `{NAME}` | none | none | none | none | none | none | none |" in table([card])


@pytest.mark.slow
def test_measured_anew_is_what_the_weights_decide_and_nothing_else(tmp_path, monkeypatch):
    for ending in (shelf.WEIGHTS, shelf.CARD):
        shutil.copy(shelf.FOLDER / f"{SMALL}{ending}", tmp_path)
    pair = tmp_path / f"{SMALL}{shelf.WEIGHTS}"
    card, few = found_card(pair), 24
    monkeypatch.setattr(measuring, "EXAMPLES", few)
    rewritten(pair, results=dataclasses.replace(card.results, proofs=NOT_PROVED, travel=0.0))
    now = remeasure(pair)
    assert now == found_card(pair)
    assert dataclasses.replace(now, results=card.results) == card
    new, old = now.results, card.results
    kept = ("values", "without", "failed", "backward_steps", "seconds", "examples", "cpu")
    assert all(getattr(new, each) == getattr(old, each) for each in kept)
    assert (new.looked_at, new.proofs.examples, new.proofs.faults) == (few, few, ())
    assert new.travel == pytest.approx(old.travel)
    # Of these few examples no fewer are proved than if all the others were not.
    for step, count in new.proofs.labels.final.items():
        assert old.proofs.labels.final[step] - (old.looked_at - few) <= count <= few
    assert new.proofs.equilibria == few


# Raw inputs.


def test_raw_inputs_give_what_the_model_gives_for_scaled_ones(member):
    scaled = catalog.tasks.get("digits").load().test.x
    np.testing.assert_array_equal(member.card.blueprint.scaled(RAW), scaled)
    pure = PureModel(member.model)
    wanted = jax.jit(pure)(pure.state, scaled)[0]
    np.testing.assert_array_equal(member(RAW)[0], wanted)
    assert np.abs(np.asarray(jax.jit(pure)(pure.state, RAW.astype("f4"))[0] - wanted)).max() > 1


def test_inputs_of_another_shape_are_one_sentence(member):
    with pytest.raises(InputError, match=r"batch before it, got \(8, 8, 1\)"):
        member(RAW[0])
    with pytest.raises(InputError, match=r"got \(2, 64\)"):
        member(np.zeros((2, 64)))


# What is proved.


def test_a_certificate_is_that_of_the_weights(member):
    found = member.certificate()
    assert found.level == "A"
    assert found.bound < 1
    assert found.each == member.card.promises
    assert "2006.08591" in repr(found)
    grown = deqzoo.load(SMALL)
    grown.model.deq.cell.W[...] *= 10
    assert grown.certificate().level == "C"
    assert NOTHING in repr(grown.certificate())


class Unproved(Classifier):
    """z = φ(Wz + Ux + b)."""

    def guarantees(self):
        return ()


@pytest.fixture
def unproved():
    catalog.models.register(Unproved, name="unproved")
    yield "unproved(width=8)"
    catalog.models._registered.pop("unproved")


def test_of_a_model_without_a_theorem_nothing_is_proved(unproved, tmp_path):
    model = deqzoo.create_model(unproved, (4,), 2, activation="tanh")
    path = deqzoo.save_pretrained(model, tmp_path / "mine", recipe=unproved, spec=(4,))
    found = deqzoo.load(path)
    assert (found.card.level, found.card.theorem) == ("C", "nothing is proved (level C)")
    assert "nothing is proved (level C)" in repr(found.certificate())


# Files that are not what they should be.


@pytest.mark.parametrize("dtype", ["u1", "<i4", ">f8", "?"])
def test_an_array_of_a_card_is_the_array_or_refused(dtype, outcome):
    array = np.random.default_rng(0).integers(0, 2, (3, 0 if dtype == "<i4" else 4)).astype(dtype)
    kept = Packed.of(array)
    assert kept.array().dtype == array.dtype
    np.testing.assert_array_equal(kept.array(), array)
    for changes in (
        {"dtype": "O"},
        {"dtype": "<f16"},
        {"shape": (-3, 4)},
        {"shape": (3, 5)},
        {"shape": (10**5, 10**5)},
        {"text": "no base64!"},
        {"text": "AAAA"},
        {"text": Packed.of(np.zeros(10**6)).text},
    ):
        bad = dataclasses.replace(kept, **changes)
        assert outcome(bad.array)[1], changes
    huge = dataclasses.replace(kept, dtype="|u1", shape=(10**9,))
    assert "no handful of examples" in outcome(huge.array)[1]


def test_a_card_with_damaged_inputs_or_of_an_older_format_is_one_sentence(pair, outcome):
    card, file = found_card(pair), pair.with_suffix(shelf.CARD)
    (kept,) = card.inputs
    for bad in ((), (kept, kept), (dataclasses.replace(kept, text="AAAA"),)):
        rewritten(pair, inputs=bad)
        assert "is damaged or of another version" in outcome(lambda: Card.read(file))[1]
        card.write(file)
    record = unsealed(json.loads(file.read_text()))
    file.write_text(json.dumps(sealed({**record, "format": 1})))
    assert "(format 1, this version reads 2)" in outcome(lambda: Card.read(file))[1]


def test_a_flipped_bit_is_refused_or_harmless(pair, member, outcome):
    whole, template = pair.read_bytes(), member.card.blueprint.template()
    wanted, rng = arrays(member.model), np.random.default_rng(0)
    header = 8 + int.from_bytes(whole[:8], "little")
    places = [*range(0, header, 7), *rng.integers(header, len(whole), 100)]
    refused = 0
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        pair.write_bytes(damaged)
        found, error = outcome(lambda: shelf.opened(pair).fill(template))
        refused += bool(error)
        assert error or equal(jax.tree.leaves(found), wanted), place
    assert refused >= len(places) - 10  # few bytes of a header say nothing


def test_a_flipped_bit_of_a_card_is_refused_or_harmless(pair, outcome):
    card = pair.with_suffix(shelf.CARD)
    whole, wanted, rng = card.read_bytes(), Card.read(card), np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 200):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        card.write_bytes(damaged)
        found, error = outcome(lambda: Card.read(card))
        assert error or found == wanted, place


def test_a_card_with_an_entry_more_or_less_is_one_sentence(pair, outcome):
    card = pair.with_suffix(shelf.CARD)
    record = unsealed(json.loads(card.read_text()))
    for name in record:
        card.write_text(json.dumps(sealed({k: v for k, v in record.items() if k != name})))
        error = outcome(lambda: Card.read(card))[1]
        assert f"({name} is missing)" in error or name == "format", error
        card.write_text(json.dumps(sealed({**record, name: {"no": [None]}})))
        assert outcome(lambda: Card.read(card))[1], name
    card.write_text(json.dumps(sealed({**record, "colour": 1})))
    assert "(colour is not known)" in outcome(lambda: Card.read(card))[1]


def test_a_cut_or_foreign_file_is_one_sentence(pair, outcome):
    whole = pair.read_bytes()
    for content in (b"", whole[:5], whole[:-1], whole + b"x", b"\xff" * 100, b"PK" + whole):
        pair.write_bytes(content)
        assert "cannot be read" in outcome(lambda: deqzoo.load(pair))[1]
    pair.unlink()
    assert "there is no file" in outcome(lambda: deqzoo.load(pair))[1]
    pair.write_bytes(whole)
    pair.with_suffix(shelf.CARD).unlink()
    assert "belongs beside the weights" in outcome(lambda: deqzoo.load(pair))[1]


def test_a_renamed_pair_or_half_of_one_is_refused(pair):
    other = pair.with_name(f"{SMALL}{shelf.WEIGHTS}")
    shutil.copy(pair, other)
    shutil.copy(pair.with_suffix(shelf.CARD), other.with_suffix(shelf.CARD))
    with pytest.raises(CardError, match=f"is the card of '{NAME}'"):
        deqzoo.load(other)
    shutil.copy(shelf.FOLDER / f"{SMALL}{shelf.CARD}", other.with_suffix(shelf.CARD))
    with pytest.raises(TensorsError, match=f"holds the member '{NAME}'"):
        deqzoo.load(other)


def test_a_card_beside_other_weights_of_its_name_is_refused(pair, member):
    state = jax.tree.map(lambda leaf: leaf + 1, PureModel(member.model).state)
    record = {"name": NAME, "blueprint": files.plain(member.card.blueprint)}
    tensors.write(pair, state, record)
    with pytest.raises(CardError, match="belongs to other weights"):
        deqzoo.load(pair)
    tensors.write(pair, PureModel(member.model).state, {**record, "blueprint": {}})
    with pytest.raises(TensorsError, match="describe different models"):
        deqzoo.load(pair)


def changed(pair, **settings):
    """Card and weights that agree on other settings."""
    card = Card.read(pair.with_suffix(shelf.CARD))
    blueprint = dataclasses.replace(
        card.blueprint, settings={**card.blueprint.settings, **settings}
    )
    state = PureModel(deqzoo.load(NAME).model).state
    tensors.write(pair, state, {"name": NAME, "blueprint": files.plain(blueprint)})
    return rewritten(pair, blueprint=blueprint)


def test_shapes_are_compared_before_anything_is_drawn(pair):
    with pytest.raises(TensorsError, match=r"has float32\(64, 64\) for .*, the model expects"):
        deqzoo.load(changed(pair, width=300_000))  # 360 GB a matrix


def test_dtypes_missing_and_unknown_arrays_are_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    tensors.write(path, {"W": np.ones((2, 2), np.float64), "b": np.ones(2)}, {})
    file, one = TensorFile(path), np.ones((2, 2), np.float32)
    with pytest.raises(TensorsError, match="holds b, which the model does not have"):
        file.fill({"W": one})
    with pytest.raises(TensorsError, match=r"float64\(2, 2\) for W, the model expects float32"):
        file.fill({"W": one, "b": one})
    with pytest.raises(TensorsError, match="has nothing for c"):
        file.fill({"W": np.ones((2, 2)), "b": np.ones(2), "c": one})
    assert file.fill({"W": one, "b": np.ones(2, np.float32)}, cast=True)["W"].dtype == np.float32


def test_a_module_that_a_card_names_is_imported_only_if_asked_for(pair, tmp_path, monkeypatch):
    (tmp_path / "evil_member.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    changed(pair, plugin=["evil_member"])
    with pytest.raises(CatalogError, match=r"plugins=\['evil_member'\]"):
        deqzoo.load(pair)
    assert not Path("ran").exists()
    deqzoo.load(pair, plugins=["evil_member"])
    assert Path("ran").exists()
    sys.modules.pop("evil_member")


def test_a_name_that_there_is_not_names_its_neighbour():
    with pytest.raises(ShelfError, match=f"did you mean '{NAME}'"):
        deqzoo.load("mondeq-digit-gelu")


# Members of one's own.


def test_a_saved_run_is_loaded_bit_for_bit_on_raw_inputs(tmp_path):
    recipe, settings = "classifier(width=6)", {"activation": "tanh", "solver": "picard"}
    model = deqzoo.create_model(recipe, "digits", **settings)
    run = deqzoo.fit(model, "digits", steps=2, batch_size=32)
    path = deqzoo.save_pretrained(run, tmp_path / "mine", recipe=recipe)
    found = deqzoo.load(path)
    assert equal(arrays(found.model), arrays(run.model))
    scaled = catalog.tasks.get("digits").load().test.x[:16]
    np.testing.assert_array_equal(found(RAW[:16])[0], found.model(scaled)[0])
    assert found.card.data.licence == "CC BY 4.0"
    assert len(found.card.reference) == 16


def test_an_object_that_does_not_say_how_it_was_built_is_refused(tmp_path):
    model = MonDEQ((4,), 2, width=8, rngs=nnx.Rngs(0))
    with pytest.raises(UnsavableError, match="give recipe="):
        deqzoo.save_pretrained(model, tmp_path / "mine")
    with pytest.raises(UnsavableError, match="name every argument that is no default"):
        deqzoo.save_pretrained(model, tmp_path / "mine", recipe="mondeq", spec=(4,))
    assert not list(tmp_path.iterdir())


def test_models_are_listed_by_what_they_take_and_created_by_recipe():
    assert {"classifier", "mondeq"} <= set(deqzoo.list_models("images", pretrained=True))
    assert "wide" not in deqzoo.list_models(pretrained=True)
    assert "wide" in deqzoo.list_models("vectors")
    assert "mondeq" not in deqzoo.list_models("tokens")
    with pytest.raises(KindError, match="one of vectors, images, tokens"):
        deqzoo.list_models("graphs")
    with pytest.raises(CreateError, match="give outputs="):
        deqzoo.create_model("mondeq", (4,))
    drawn = deqzoo.create_model("mondeq(width=8)", "digits", activation="gelu", seed=2**32 + 3)
    config = TrainConfig(model="mondeq(width=8)", activation="gelu", seed=2**32 + 3)
    assert equal(arrays(drawn), arrays(config.build_model((8, 8, 1), 10)))


# Learning on.


def test_a_run_begins_with_the_weights_of_a_member(member):
    config = TrainConfig(model="mondeq", activation="gelu", init_from=f"zoo:{NAME}", seed=5)
    setup = Setup(config)
    assert equal(jax.tree.leaves(setup.state), arrays(member.model))
    assert setup.notes == [f"begins with the weights of the trained member {NAME}"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "mondeq", "width": 32}, "the model expects float32(32, 32)"),
        ({"model": "classifier"}, "which the model does not have"),
        ({"init_from": "zoo:mondeq-digits-gel"}, "did you mean"),
    ],
)
def test_weights_of_a_member_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        Setup(TrainConfig(**{"init_from": f"zoo:{NAME}", **settings}))
    assert str(caught.value).startswith("--init_from=zoo:")


# Building.


@pytest.mark.quick("MonDEQ")
@pytest.mark.parametrize("model", [Classifier, MonDEQ])
def test_without_its_equilibrium_a_model_evaluates_its_cell_once(model):
    """And its gradient is that of the explicit network."""
    own = model((4,), 2, activation="tanh", width=8, rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((5, 4)), jnp.float32)
    graph, state = nnx.split(own, nnx.Param)

    def explicit(state):
        model = nnx.merge(graph, state)
        injected = model.stem(x)
        cell = model.deq.cell
        return model.head(cell(cell.start(injected), injected), injected)

    def implicit(state):
        return Without(nnx.merge(graph, state))(x)[0]

    np.testing.assert_allclose(implicit(state), explicit(state), rtol=1e-6)
    both = [jax.grad(lambda s, f=f: (f(s) ** 2).sum())(state) for f in (implicit, explicit)]
    for one, other in zip(*map(jax.tree.leaves, both), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    assert Without(own).guarantees() == ()


def results(**changes):
    zeros = dict.fromkeys((f.name for f in dataclasses.fields(Results)), 0)
    given = {"metric": "accuracy", "higher_is_better": True, "is_share": True, "examples": 10_000}
    several = {"seeds": (0, 1), "values": (0.98, 0.98), "without": (0.95, 0.95)}
    return Results(**{**zeros, **given, **several, **changes})


def test_a_verdict_is_no_better_than_the_numbers():
    assert results().verdict.startswith("the equilibrium earns something: 98.00 ± 0.00 %")
    assert results(without=(0.985, 0.98)).verdict.startswith("the equilibrium earns nothing here")
    # Three images of a hundred are chance, and so is what seeds differ by.
    assert "nothing that is more than chance" in results(examples=100).verdict
    assert "nothing that is more than chance" in results(values=(0.94, 0.99)).verdict
    one = results(seeds=(0,), values=(0.98,), without=(0.5,))
    assert not one.earns
    assert one.verdict == (
        "one seed does not say whether the equilibrium earns anything: 98.00 % with it, 50.00 % "
        "without"
    )
    loss = {"higher_is_better": False, "is_share": False}
    assert results(**loss).verdict.startswith("the equilibrium earns nothing here")


def test_a_card_is_what_the_hub_reads(member):
    yaml = pytest.importorskip("yaml")
    _, front, page = member.card.to_hub().split("---\n", 2)
    (index,) = yaml.safe_load(front)["model-index"]
    (result,) = index["results"]
    assert index["name"] == NAME
    assert result["dataset"]["revision"] == member.card.data.fingerprint
    assert result["metrics"][0]["value"] == pytest.approx(member.card.results.mean)
    assert member.card.theorem.replace("|", "\\|") in page


class Two(nnx.Module):
    """z -> tanh(3z + x): two stable equilibria, and the start 0 is close to neither."""

    def __call__(self, z, x):
        return jnp.tanh(3 * z + x)

    def start(self, x):
        return jnp.zeros_like(x)


class OfTwo(Model):
    """Outputs are the equilibrium."""

    def __init__(self, solver):
        self.activation = catalog.activations.get("tanh")
        self.gain = nnx.Param(jnp.ones(()))
        self.deq = deqzoo.DEQ(Two(), solver=solver)

    def stem(self, x):
        return self.gain * x

    def head(self, z, injected):
        return z


def test_what_a_card_says_of_the_solves_is_so():
    """Steps, travel and ranks by hand, of a map whose starts lead to two places."""
    x = np.random.default_rng(0).uniform(-0.5, 0.5, (40, 1)).astype(np.float32)
    y = np.sign(x)
    found = measure(OfTwo("picard"), Split(x, y), Metric("loss", Square(), y), Square())
    z, losses, counts = np.zeros_like(x, np.float64), {}, np.zeros(len(x))
    for step in range(21):
        losses[str(step)] = 0.5 * np.sum((z - y) ** 2)
        z = np.tanh(3 * z + x)
    measured = {step: value for step, value in found.after.items()}
    assert measured == pytest.approx({step: losses[step] for step in measured}, rel=1e-4, abs=1e-6)
    assert set(measured) == {"0", "1", "2", "3", "5", "8", "12", "20"}
    assert found.travel == pytest.approx(1)
    model = OfTwo("picard")
    outputs, solution = model(x)
    counts = np.asarray(solution.stats.steps)
    assert (found.forward_steps, found.forward_steps_max) == (counts.mean(), counts.max())
    wanted = scipy.stats.spearmanr(counts, np.sum((outputs - y) ** 2, axis=1)).statistic
    assert found.correlation == pytest.approx(wanted, abs=1e-6)
    assert (found.starts, found.starts_converged) == (8, 8)
    assert found.starts_distance > 1.9
    same = measure(OfTwo("picard(rtol=10)"), Split(x, y), Metric("loss", Square(), y), Square())
    assert same.correlation is None
    assert (found.looked_at, found.proofs.examples, found.proofs.radii) == (40, 40, None)
    assert found.proofs.reasons["labels"] == "its targets are not one class of each example"
    assert "not of the form" in found.proofs.reasons["equilibria"]
    several = proofs(OfTwo("picard"), Split(x, (y > 0).astype(int)))
    assert several.reasons["labels"] == found.proofs.reasons["labels"]
    classes = proofs(OfTwo("picard"), Split(x, (y[:, 0] > 0).astype(int)))
    assert classes.reasons["radii"] == "the stem or the head of this model is not affine"


def test_runs_of_another_line_of_the_table_are_not_measured_as_of_this_one(tmp_path):
    settings = {**TINY.config.to_dict(), "seeds": [0, 1]}
    del settings["seed"]
    record = {"config": settings, "resolved": {"vmap": True}}
    Workdir(tmp_path / "runs" / TINY.name).write_config(record)
    longer = dataclasses.replace(TINY, steps=5)
    with pytest.raises(WorkdirError, match="other settings .steps: 4 there, 5 here"):
        list(building.build((longer,), (0, 1), tmp_path, lambda step: False))


@pytest.mark.parametrize(
    "changes",
    [
        {"spec": {}},
        {"spec": {"shape": ["8"], "dtype": "float32", "size": None}},
        {"spec": {"shape": [8], "dtype": "no", "size": None}},
        {"scaling": ()},
        {"settings": {"steps": 3, "colour": "red"}},
        {"settings": {"steps": -1}},
    ],
    ids=str,
)
def test_a_sealed_card_that_describes_no_model_is_one_sentence(pair, changes, outcome):
    card = Card.read(pair.with_suffix(shelf.CARD))
    rewritten(pair, blueprint=dataclasses.replace(card.blueprint, **changes))
    assert "is damaged or of another version" in outcome(lambda: deqzoo.load(pair))[1]


@pytest.mark.slow
def test_a_build_stopped_anywhere_goes_on_and_a_finished_one_is_kept(tmp_path):
    def states(folder, patience):
        asked = iter(range(10**6))
        events = building.build((TINY,), (0, 1), folder, lambda step: next(asked) >= patience)
        return [event.state for event in events]

    assert states(tmp_path / "whole", 10**6)[-1] == building.BUILT
    ends = [states(tmp_path / "cut", patience=1)[-1] for _ in range(3)]
    assert ends[:2] == [building.STOPPED] * 2  # among the seeds, and without the equilibrium
    assert building.BUILT in (*ends, states(tmp_path / "cut", 10**6)[-1])
    assert states(tmp_path / "cut", 0) == [building.KEPT]
    assert same_numbers(tmp_path / "whole", tmp_path / "cut")


def same_numbers(*folders):
    cards = [Card.read(each / "weights" / f"{TINY.name}{shelf.CARD}") for each in folders]
    same = [(c.weights, c.reference, c.results.values, c.results.without) for c in cards]
    return same[0] == same[1]


BUILDING = """
import sys
from pathlib import Path
from deqzoo.zoo.build import build
from deqzoo.zoo.measure import measure
from deqzoo.zoo.members import Member
task = "sphere(examples=24, dimension=3)"
member = Member("classifier(width=4)", "tanh", task, 4, 1e-2, batch_size="8")
for event in build((member,), (0, 1), Path(sys.argv[1]), lambda step: False):
    print(event.state, flush=True)
"""


@pytest.mark.slow
def test_a_killed_build_goes_on(tmp_path):
    def start(folder):
        command = [sys.executable, "-c", BUILDING, str(folder)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    assert start(tmp_path / "whole").communicate(timeout=300)[0].split()[-1] == "built"
    for word in ("trains", "seed 1 without"):
        process = start(tmp_path / "cut")
        next(line for line in process.stdout if line.startswith(word))
        time.sleep(0.3)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (tmp_path / "cut" / "weights" / f"{TINY.name}{shelf.CARD}").exists()
    assert start(tmp_path / "cut").communicate(timeout=300)[0].split()[-1] == "built"
    assert same_numbers(tmp_path / "whole", tmp_path / "cut")


# The command.


def run(*words, **settings):
    console = Console(record=True, file=open(os.devnull, "w"), width=200)  # noqa: SIM115
    with console.file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(zoo, "Console", lambda **_: console)
        code = zoo._run(words, zoo.ZooConfig(**settings))
    return code, console.export_text()


def test_the_command_lists_and_shows(member):
    code, told = run("list")
    assert (code, all(name in told for name in shelf.names())) == (_command.DONE, True)
    code, told = run("show", NAME)
    flat = " ".join(told.split())
    assert all(" ".join(text.split()) in flat for _, text in member.card.rows)
    assert run("show", NAME, hub=True)[1].startswith("---")


@pytest.mark.parametrize(
    ("words", "settings", "message"),
    [
        ((), {}, "expected one of list, show, build, check, table"),
        (("shwo",), {}, "got 'shwo'"),
        (("show",), {}, "takes the name of one member"),
        (("check", NAME), {}, "takes flags alone"),
        (("build",), {"member": ("mondeq-digits-rel",)}, "did you mean 'mondeq-digits-relu'"),
        (("table",), {"output": "nowhere.md"}, "cannot read --output=nowhere.md"),
        (("build",), {"seeds": 0}, "--seeds must be >= 1"),
        (("build",), {"budget": "soon"}, "--budget must be a time such as 90s"),
    ],
)
def test_wrong_usage_is_one_sentence(words, settings, message):
    with pytest.raises(_command.UsageError, match=re.escape(message)):
        run(*words, **settings)


@pytest.mark.parametrize("wrong", [(), ("it is not",)])
def test_a_check_that_finds_something_fails(monkeypatch, wrong):
    monkeypatch.setattr(zoo, "check", lambda name: Checked(name, wrong, 1e-7, 0.98))
    code, told = run("check")
    assert code == (_command.FAILED if wrong else _command.DONE)
    assert told.count("it is not") == (len(shelf.names()) if wrong else 0)


def test_a_check_without_data_says_so(monkeypatch):
    monkeypatch.setattr(zoo, "check", lambda name: Checked(name, (), 1e-7, None, "all"))
    code, told = run("check", member=(NAME,))
    assert "; proved of examples: all" in told
    assert code == _command.DONE
    assert "its data are not here, so its metric was not measured" in told


@pytest.mark.slow
def test_a_budget_ends_a_build_saved_and_without_one_it_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "MEMBERS", (TINY,))
    settings = {"workdir": str(tmp_path), "seeds": 1}
    code, told = run("build", budget="0s", **settings)
    assert (code, "stopped and saved" in told) == (_command.PREEMPTED, True)
    assert any((tmp_path / "runs" / TINY.name).rglob("checkpoints/*"))
    assert not (tmp_path / "weights").exists()
    code, told = run("build", **settings)
    assert (code, f"{TINY.name}: built" in told) == (_command.DONE, True)
    card = Card.read(tmp_path / "weights" / f"{TINY.name}{shelf.CARD}")
    assert card.results.proofs.reasons["radii"] == "its targets are not one class of each example"
    assert run("build", budget="0s", **settings)[1].startswith(f"{TINY.name}: kept")


def test_a_budget_is_a_deadline():
    never = lambda step: False  # noqa: E731
    now = time.monotonic()
    assert zoo._until(now - 1, never)(0)
    assert not zoo._until(now + 1000, never)(0)
    assert zoo._until(now + 1000, lambda step: True)(0)
    assert [zoo.seconds(each) for each in ("90s", "2m", "")] == [90, 120, float("inf")]


def test_a_build_is_installed_as_a_pair(tmp_path, pair):
    folder = tmp_path / "shelf"
    (tmp_path / "weights").mkdir()
    for ending in (shelf.WEIGHTS, shelf.CARD):
        shutil.copy(pair.with_suffix(ending), tmp_path / "weights")
    building.install([NAME], tmp_path, folder)
    assert sorted(each.name for each in folder.iterdir()) == [f"{NAME}.json", f"{NAME}.safetensors"]
    assert json.loads((folder / f"{NAME}.json").read_text())["name"] == NAME
