"""Every example in a docstring runs and prints what it says."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for room in ("deqzoo", "activations", "launch")
    for path in sorted((ROOT / room).rglob("*.py"))
    if ">>>" in path.read_text()
]
# Most of them train.
TRAINING = ("deqzoo.analysis", "deqzoo.models", "deqzoo.nn", "deqzoo.runs", "deqzoo.zoo")
CASES = [
    pytest.param(name, marks=[pytest.mark.slow] * name.startswith(TRAINING)) for name in MODULES
]


@pytest.mark.parametrize("name", CASES)
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0
