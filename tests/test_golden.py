"""Every default is on record: one that changes is seen where the change is reviewed.

After a change that is meant: ``python -m pytest tests/test_golden.py --rewrite_golden``.
"""

import dataclasses
import inspect
import json
import sys
from pathlib import Path

import pytest

from deqzoo import catalog
from deqzoo.catalog import signature
from deqzoo.recipe import Recipe

GOLDEN = Path(__file__).parent / "golden"


def recorded(room):
    """Every member of the house with its arguments as they are written."""
    members = {name: room.load(name) for name in room.names()}
    return {
        name: settings(room, member)
        for name, member in members.items()
        if member.__module__ == f"{room.package}.{name}"
    }


def settings(room, member):
    """The arguments of a member; of a command its flags."""
    if room is not catalog.commands:
        return {p.name: written(p.default) for p in signature(member).parameters.values()}
    names = vars(sys.modules[member.__module__]).values()
    flags = [n for n in names if isinstance(n, type) and n.__name__.endswith(("Config", "Options"))]
    return {field.name: default(field) for each in flags for field in dataclasses.fields(each)}


def default(field):
    made = field.default_factory is not dataclasses.MISSING
    return written(field.default_factory() if made else field.default)


def written(value):
    if value in (inspect.Parameter.empty, dataclasses.MISSING):
        return "required"
    if isinstance(value, type):
        return value.__name__
    return repr(str(Recipe.of(value)) if dataclasses.is_dataclass(value) else value)


@pytest.mark.parametrize("room", catalog.ALL, ids=lambda room: room.group)
def test_every_default_is_as_recorded(room, request):
    file, found = GOLDEN / f"{room.group}.json", recorded(room)
    if request.config.getoption("--rewrite_golden"):
        file.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    expected = json.loads(file.read_text())
    for name in {*found, *expected}:
        assert found.get(name) == expected.get(name), (
            f"the {room.kind} {name}: its defaults are not those of {file.name}; if that is meant, "
            "run: python -m pytest tests/test_golden.py --rewrite_golden"
        )
