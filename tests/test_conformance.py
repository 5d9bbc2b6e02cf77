"""The catalogs whose members have no page of their own: every member keeps its contract."""

import pytest

from deqzoo import catalog
from deqzoo.testing import check_optimizer, name_of


@pytest.mark.parametrize("truth", check_optimizer.truths, ids=name_of)
@pytest.mark.parametrize("name", catalog.optimizers.names())
def test_every_optimizer_keeps_its_contract(name, truth):
    check_optimizer(name, only=truth)
