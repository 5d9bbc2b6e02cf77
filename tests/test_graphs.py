"""Graphs: neighbours, equilibria of nodes, chains that are seen to their ends, files."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import deqzoo
from deqzoo import catalog
from deqzoo.data.examples import TaskError
from deqzoo.models.eignn import Eignn
from deqzoo.models.ignn import Ignn
from deqzoo.nn.neighbours import aggregated, node_scale

NODES, WIDTH = 7, 3


def drawn(graphs=1, seed=0, edges=9):
    """Features and edges, of which some are loops and some there twice."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((graphs, NODES, 2)).astype(np.float32)
    edges = rng.integers(0, NODES, (graphs, edges, 2)).astype(np.int32)
    edges[:, 0], edges[:, 1] = edges[:, 2], 4
    return {"features": features, "edges": edges}


def dense(edges):
    """D^-1/2 (A + I) D^-1/2 of one graph in float64."""
    adjacency = np.eye(NODES)
    for i, j in edges:
        adjacency[i, j] += 1
        adjacency[j, i] += 1
    scale = adjacency.sum(1) ** -0.5
    return scale[:, None] * adjacency * scale


SPEC = {
    "features": deqzoo.data.spec.Spec((NODES, 2)),
    "edges": deqzoo.data.spec.Spec((9, 2), "int32", NODES),
}


def build(member, activation, **settings):
    return member(SPEC, 4, activation=activation, rngs=nnx.Rngs(0), **settings)


def test_sums_along_edges_are_the_normalised_adjacency_whose_norm_is_at_most_one():
    for seed in range(5):
        z, edges = (jnp.asarray(drawn(2, seed)[name]) for name in ("features", "edges"))
        found = aggregated(z, edges, node_scale(edges, NODES, z.dtype))
        expected = [dense(e) @ f for e, f in zip(np.asarray(edges), np.asarray(z), strict=True)]
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert max(np.linalg.norm(dense(e), 2) for e in np.asarray(edges)) <= 1 + 1e-12


def test_the_equilibrium_of_linear_layers_is_the_solution_of_their_equation():
    model, x = build(Eignn, "identity", width=WIDTH, solver="auto(rtol=1e-6)"), drawn()
    A, W = dense(x["edges"][0]), np.asarray(model.deq.cell.weight(), float)
    u = A @ x["features"][0] @ np.asarray(model.inputs.kernel[...], float)
    z = np.linalg.solve(np.eye(NODES * WIDTH) - np.kron(A, W), u.ravel())
    np.testing.assert_allclose(model(x)[1].value.ravel(), z, atol=1e-4)


@pytest.mark.parametrize("member", [Eignn, Ignn])
def test_states_come_nearer_by_the_bound_that_is_proved(member):
    model = build(member, "sin", width=WIDTH)
    parameters = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    (guarantee,) = model.guarantees()
    assert 0.5 < float(guarantee.bound(parameters)) < 1
    for seed in range(10):
        fn = model.deq.map(model.injection(drawn(1, seed)))
        rng = np.random.default_rng(seed)
        z, w = (jnp.asarray(rng.standard_normal((1, NODES, WIDTH)) / 9) for _ in range(2))
        moved = jnp.linalg.norm(fn(z) - fn(w)) / jnp.linalg.norm(z - w)
        assert moved <= guarantee.bound(parameters)
    # Of a regular graph equal nodes along the leading singular vector: nothing is given away.
    ring = {**drawn(), "edges": np.array([[[i, (i + 1) % NODES] for i in range(NODES)]])}
    leading = np.linalg.svd(np.asarray(model.deq.cell.weight()))[2][0]
    fn = model.deq.map(model.injection({**ring, "features": 0 * ring["features"]}))
    z = jnp.asarray(1e-3 * np.tile(leading, (1, NODES, 1)), jnp.float32)
    norm = np.linalg.norm(model.deq.cell.weight(), 2)
    moved, size = (float(jnp.linalg.norm(a)) for a in (fn(z) - fn(0 * z), z))
    assert moved == pytest.approx(norm * size, rel=1e-4)


@pytest.mark.quick("Ignn")
@pytest.mark.parametrize("member", [Eignn, Ignn])
def test_a_graph_does_not_see_other_graphs_nor_the_numbers_of_its_nodes(member):
    model, x = build(member, "tanh"), drawn(3)
    outputs, solution = model(x)
    assert solution.stats.steps.shape == (3,)
    for i in range(3):
        alone, _ = model(jax.tree.map(lambda a, i=i: a[i : i + 1], x))
        np.testing.assert_allclose(outputs[i : i + 1], alone, atol=1e-5)
    order = np.random.default_rng(1).permutation(NODES)
    place = np.argsort(order)
    renamed = {"features": x["features"][:, order], "edges": place[x["edges"]]}
    np.testing.assert_allclose(model(renamed)[0], outputs[:, order], atol=1e-4)


def test_what_is_no_graph_is_refused():
    with pytest.raises(ValueError, match="takes graphs.*choose a task of graphs"):
        Ignn((8, 8, 1), 10, rngs=nnx.Rngs(0))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "activation", "steps"), [("eignn", "identity", 50), ("ignn", "relu", 150)]
)
def test_chains_of_twenty_are_seen_to_their_ends(model, activation, steps, tmp_path):
    """What is twenty edges away is a small part of the state: the tolerance must be smaller."""
    recipe = f"{model}(solver='picard(rtol=2e-7)')"
    run = deqzoo.fit(
        deqzoo.create_model(recipe, "chains", activation=activation),
        "chains",
        steps=steps,
        batch_size="full",
        learning_rate=0.01,
        eval_every=steps,
        workdir=str(tmp_path),
    )
    assert run.summary["test_accuracy"] >= {"eignn": 1.0, "ignn": 0.9}[model]
    assert run.summary["bound"] < 1


# Files.


def arrays():
    parts = {part: np.arange(6) % 3 == i for i, part in enumerate(("train", "test", "validation"))}
    return {
        "features": np.eye(6),
        "edges": np.array([[0, 1], [2, 5]]),
        "labels": np.array([0, 0, 1, 1, 1, -1]),
        **parts,
    }


def test_the_nodes_of_a_file_are_divided_by_its_masks(tmp_path):
    np.savez(tmp_path / "mine.npz", **arrays())
    data = catalog.tasks.get(f"graph:{tmp_path / 'mine.npz'}").load()
    assert data.spec["edges"].size == 6
    for i, name in enumerate(("train", "test", "validation")):
        expected = np.where(np.arange(6) % 3 == i, arrays()["labels"], -1)
        np.testing.assert_array_equal(data.splits[name].y, [expected])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"features": np.ones(6)}, r"features .* shape \(nodes, k\), got \(6,\)"),
        ({"features": np.ones((0, 2))}, r"features .* got \(0, 2\)"),
        ({"features": np.full((6, 1), np.nan)}, "6 non-finite"),
        ({"features": np.ones((5, 2))}, "edges .* nodes 0 ... 4, got 5"),
        ({"edges": np.ones((2, 3), int)}, r"edges .* shape \(edges, 2\), got int64\(2, 3\)"),
        ({"edges": np.ones((0, 2), int)}, r"edges .* got int64\(0, 2\)"),
        ({"edges": np.ones((2, 2))}, r"edges .* integers .* got float64\(2, 2\)"),
        ({"edges": np.array([[-1, 0]])}, "nodes 0 ... 5, got -1"),
        ({"labels": np.zeros((6, 1), int)}, r"labels .* shape \(6,\).* got int64\(6, 1\)"),
        ({"labels": np.zeros(6)}, r"labels .* integers .* got float64\(6,\)"),
        ({"labels": np.zeros(6, int)}, "at least two classes"),
        ({"labels": np.array([0, -2, 1, 1, 1, 0])}, "or -1 for none, got -2"),
        ({"train": np.arange(6)}, r"train .* booleans of shape \(6,\), got int64\(6,\)"),
        ({"test": np.ones(5, bool)}, r"test .* got bool\(5,\)"),
        ({"test": np.ones(6, bool)}, "node 0 .* in two of train, test, validation"),
        ({"validation": np.zeros(6, bool)}, "validation split has no label"),
        ({"train": None}, "must hold train too, found features, edges, labels, test, validation"),
    ],
)
def test_a_file_that_is_no_graph_is_refused(changed, message, tmp_path):
    path = tmp_path / "mine.npz"
    found = {key: value for key, value in (arrays() | changed).items() if value is not None}
    np.savez(path, **found)
    with pytest.raises(TaskError, match=message):
        catalog.tasks.get(f"graph:{path}").load()
