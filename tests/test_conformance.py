"""The catalogs whose members have no page of their own: every member keeps its contract."""

import pytest

from deqzoo import catalog
from deqzoo.testing import check_constraint, check_optimizer, check_sink, name_of

CHECKS = [
    (catalog.constraints, check_constraint),
    (catalog.optimizers, check_optimizer),
    (catalog.sinks, check_sink),
]
CASES = [
    pytest.param(check, name, truth, id=f"{check.kind}-{name}-{name_of(truth)}")
    for room, check in CHECKS
    for name in room.names()
    for truth in check.truths
]
SETTINGS = {"wandb": "(project='deqzoo')"}


@pytest.mark.parametrize(("check", "name", "truth"), CASES)
def test_every_member_keeps_its_contract(check, name, truth):
    check(name + SETTINGS.get(name, ""), only=truth)
