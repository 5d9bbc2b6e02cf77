"""Tasks of one graph: communities of a known strength, the karate club, the connectome of files."""

import numpy as np
import pytest

from deqzoo import catalog
from deqzoo.catalog import CatalogError
from deqzoo.data.examples import TaskError
from deqzoo.tasks.csbm import Csbm
from deqzoo.tasks.karate import Karate


def labels_of(data):
    """The label of every node, which is in exactly one split."""
    found = np.stack([split.y[0] for split in data.splits.values()])
    assert np.all(np.sum(found >= 0, axis=0) == 1)
    return found.max(axis=0)


@pytest.mark.parametrize("phi", [-0.9, 0.0, 0.9])
def test_communities_are_as_dense_and_their_features_as_far_apart_as_asked(phi):
    task = Csbm(nodes=2000, features=40, degree=8.0, eps=5.0, phi=phi)
    data = task.read()
    edges, side = data.train.x["edges"][0], 2 * labels_of(data) - 1
    inside = np.mean(side[edges[:, 0]] == side[edges[:, 1]])
    assert 2 * len(edges) / 2000 == pytest.approx(8.0, rel=0.05)
    expected = (1 + np.sqrt(6 / 8) * np.sin(np.pi * phi / 2)) / 2
    assert inside == pytest.approx(expected, abs=0.02)
    assert np.all(edges[:, 0] < edges[:, 1])
    # The squared distance of the means of both communities: 4 mu/n |w|²/k, and that of the noise.
    x = data.train.x["features"][0]
    apart = np.sum((x[side > 0].mean(0) - x[side < 0].mean(0)) ** 2)
    lengths = [np.sum(x[side == s] ** 2, axis=1).mean() for s in (1, -1)]
    np.testing.assert_allclose(lengths, 1.0, atol=0.1)
    mu = np.sqrt(2000 / 40 * 6) * np.cos(np.pi * phi / 2)
    assert apart == pytest.approx(4 * mu / 2000 + 4 / 2000, abs=0.5 * 4 * mu / 2000 + 0.001)


def test_probabilities_beyond_one_are_refused():
    with pytest.raises(CatalogError, match="probability -.*raise degree, lower eps"):
        catalog.tasks.get("csbm(phi=1.0, eps=20.0)")


def test_the_karate_club_is_that_of_the_paper():
    data = Karate().read()
    edges, side = data.train.x["edges"][0], labels_of(data)
    degrees = np.bincount(edges.ravel())
    assert (len(edges), len(degrees), side.sum()) == (78, 34, 17)
    assert degrees[[0, 1, 2, 32, 33]].tolist() == [16, 9, 10, 12, 17]
    assert degrees[11] == 1
    assert np.sum(side[edges[:, 0]] != side[edges[:, 1]]) == 11
    assert len({(i, j) for i, j in edges.tolist()}) == 78
    assert np.all(edges[:, 0] < edges[:, 1])


def test_a_connectome_is_read_from_its_files(tmp_path):
    weights = np.zeros((10, 10), int)
    weights[0, 1:], weights[3, 0] = 2, 7
    np.savetxt(tmp_path / "left_adjacency.csv", weights, fmt="%d")
    (tmp_path / "left_cell_labels.csv").write_text("\n".join("KKOOKKOOKP"))
    data = catalog.tasks.get(f"connectome(path={str(tmp_path)!r})").load()
    assert labels_of(data).tolist() == [0, 0, 1, 1, 0, 0, 1, 1, 0, 2]
    assert data.train.x["edges"][0].tolist() == [[0, i] for i in range(1, 10)]
    x = data.train.x["features"][0]
    assert x.shape == (10, 4)
    # Who gives most gives away from node 0, who is given most by weight is node 0.
    assert np.argmax(x[:, 1]) == np.argmax(x[:, 3]) == np.argmax(x[:, 2]) == 0
    np.testing.assert_allclose(x.std(axis=0)[1:], 1, atol=1e-5)
    for text, message in [("1 2", "must hold an adjacency"), ("a b", "cannot read")]:
        (tmp_path / "left_adjacency.csv").write_text(text)
        with pytest.raises(TaskError, match=f"{message}.*pip install --no-deps graspologic"):
            catalog.tasks.get(f"connectome(path={str(tmp_path)!r})").load()


def test_without_its_package_a_connectome_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TaskError, match="pip install --no-deps graspologic"):
        catalog.tasks.get("connectome").read()
