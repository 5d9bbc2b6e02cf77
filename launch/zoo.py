"""The trained members: ``python -m launch.zoo list | show NAME | build | measure | check | ...``.

``list`` names the models and the trained members, ``show NAME`` prints a card (--hub: as the README
of a repository on the Hub). ``build`` trains the members of the table and measures their cards in
--workdir, where the same command again goes on; --install copies them into the package. ``measure``
does again what a shipped card says of the solves and proofs of its weights, and keeps the rest.
``check`` reloads every shipped member and compares it with its card; ``table`` writes the tables of
all cards into --output; ``matrix`` trains every model with every activation and writes whose
guarantee held. ``convert FILE`` makes a member of weights that PyTorch saved, of the model
--recipe, at --weights.

Exit codes: 0 done, 1 failed or a member is not what its card says, 2 wrong usage, 75 stopped by a
signal or at the end of --budget and saved (run the same command again).
"""

from __future__ import annotations

import functools
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from deqzoo import catalog
from deqzoo.activation.digits import at_least
from deqzoo.analysis.margins import proof
from deqzoo.local_path import local_path
from deqzoo.storage import files, shelf
from deqzoo.storage.checkpoint import CheckpointError
from deqzoo.storage.torch_file import TorchFileError
from deqzoo.training import TrainingError
from deqzoo.training.devices.preemption import Stop, watch_signals
from deqzoo.zoo import build as building
from deqzoo.zoo.card import Card
from deqzoo.zoo.check import LARGEST_OF_ALL, check
from deqzoo.zoo.convert import ConvertError, convert
from deqzoo.zoo.list_models import list_models
from deqzoo.zoo.load import load
from deqzoo.zoo.matrix import measure_all, page
from deqzoo.zoo.members import MEMBERS, Member
from deqzoo.zoo.remeasure import remeasure
from deqzoo.zoo.table import placed, table
from launch import _command

__all__ = ["main"]

_UNITS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class ZooConfig:
    """Settings of ``launch.zoo``."""

    member: tuple[str, ...] = _command.option((), "build, measure, check: only these. Repeatable.")
    seeds: int = _command.option(5, "build: how many seeds, from 0; the first one is kept.")
    budget: str = _command.option("", "build: stop, saved, after so long: 90s, 30m, 2h.")
    workdir: str = _command.option("runs/zoo", "build: the folder of everything.")
    install: bool = _command.option(False, "build: copy what was built into the package.")
    hub: bool = _command.option(False, "show: as the README of a repository on the Hub.")
    output: str = _command.option("docs/zoo.md", "table: the page with the marks of the table.")
    model: tuple[str, ...] = _command.option((), "matrix: only these. Repeatable.")
    activation: tuple[str, ...] = _command.option((), "matrix: only these. Repeatable.")
    steps: int = _command.option(200, "matrix: of the training of each pair.")
    page: str = _command.option("docs/guarantees.md", "matrix: the page that is written.")
    recipe: str = _command.option(
        "", "convert: the model of the weights, such as mondeq(width=40, margin=20)."
    )
    weights: str = _command.option("", "convert: where both files go; the last part is the name.")
    plugin: tuple[str, ...] = _command.option(
        (), "Python modules to import first, among them those that a card names. Repeatable."
    )

    def __post_init__(self):
        if self.seeds < 1:
            raise _command.UsageError(f"--seeds must be >= 1, got {self.seeds}")
        if self.steps < 1:
            raise _command.UsageError(f"--steps must be >= 1, got {self.steps}")
        seconds(self.budget)


def main() -> None:
    """Entry point."""
    words = _words(sys.argv)
    errors = (TrainingError, CheckpointError, ConvertError, TorchFileError)
    run = functools.partial(_run, words)
    _command.start(run, ZooConfig, usage=__doc__ or "", errors=errors)


def seconds(budget: str) -> float:
    """``30m`` -> 1800; no budget is endless.

    Raises:
        UsageError: it is no such time.

    Example:
        >>> from launch.zoo import seconds
        >>> seconds("1.5h")
        5400.0
    """
    if not budget:
        return float("inf")
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", budget)
    if found is None:
        raise _command.UsageError(f"--budget must be a time such as 90s, 30m or 2h, got {budget!r}")
    return float(found[1]) * _UNITS[found[2]]


def _words(line: list[str]) -> list[str]:
    """What comes before the flags, taken off the line."""
    words = []
    while len(line) > 1 and not line[1].startswith("-"):
        words.append(line.pop(1))
    return words


def _run(words: Sequence[str], config: ZooConfig) -> int:
    for module in config.plugin:
        catalog.import_plugin(module)
    verbs = {"list": _list, "show": _show, "build": _build, "check": _check, "table": _table}
    verbs |= {"matrix": _matrix, "convert": _convert, "measure": _measure}
    verb, *names = words or [""]
    if verb not in verbs:
        raise _command.UsageError(
            f"expected one of {', '.join(verbs)}, got {verb!r}: for example python -m launch.zoo "
            "show mondeq-digits-gelu"
        )
    takes = {"show": "the name of one member", "convert": "one file"}
    if len(names) != (verb in takes):
        wanted = f"takes {takes.get(verb, 'flags alone')}"
        raise _command.UsageError(f"{verb} {wanted}, got {' '.join(names) or 'none'}")
    console = Console(highlight=False, soft_wrap=True, markup=False)
    return verbs[verb](console, config, *names)


def _list(console: Console, config: ZooConfig) -> int:
    del config
    console.print(f"models: {', '.join(list_models())}")
    for name in shelf.names():
        card = Card.read(shelf.FOLDER / f"{name}{shelf.CARD}")
        found = card.results
        reached = "" if found is None else f"{found.metric} {found.told(found.values)}, "
        console.print(f"{name}: {reached}level {card.level}, {card.parameters:,} parameters")
    return _command.DONE


def _show(console: Console, config: ZooConfig, name: str) -> int:
    card = load(name, plugins=config.plugin).card
    if config.hub:
        console.print(card.to_hub())
        return _command.DONE
    _told(console, card)
    return _command.DONE


def _build(console: Console, config: ZooConfig) -> int:
    members, folder = _chosen(config.member), local_path(config.workdir)
    _command.make_folder(folder, "--workdir")
    stop = _until(time.monotonic() + seconds(config.budget), watch_signals())
    done = []
    for event in building.build(members, tuple(range(config.seeds)), folder, stop):
        console.print(f"{event.name}: {event.state}")
        if event.state == building.STOPPED:
            console.print("stopped and saved: run the same command again to continue")
            return _command.PREEMPTED
        done += [event.name] * (event.state in (building.BUILT, building.KEPT))
    console.print(f"weights and cards: {folder / 'weights'}")
    if config.install:
        building.install(done, folder)
        console.print(f"installed in {shelf.FOLDER}")
    return _command.DONE


def _chosen(names: Sequence[str]) -> list[Member]:
    table = {member.name: member for member in MEMBERS}
    for name in names:
        if name not in table:
            hint = catalog.choices(name, tuple(table))
            raise _command.UsageError(f"--member={name} is not in the table{hint}")
    return [table[name] for name in dict.fromkeys(names)] if names else [*MEMBERS]


def _until(deadline: float, stop: Stop) -> Stop:
    return lambda step: stop(step) or time.monotonic() > deadline


def _measure(console: Console, config: ZooConfig) -> int:
    for name in config.member or shelf.names():
        _told(console, remeasure(name))
    return _command.DONE


def _check(console: Console, config: ZooConfig) -> int:
    names = config.member or shelf.names()
    wrong = 0
    for name in names:
        found = check(name)
        verdict = "; ".join(found.wrong) or f"as its card says (outputs to {found.outputs:.0e})"
        if found.value is None and not found.wrong:
            verdict += "; its data are not here, so its metric was not measured"
        verdict += f"; proved of examples: {found.proved}" if found.proved else ""
        console.print(f"{name}: {verdict}")
        wrong += bool(found.wrong)
    size = sum(file.stat().st_size for file in shelf.FOLDER.iterdir())
    if size > LARGEST_OF_ALL:
        console.print(f"all together {size} bytes, {LARGEST_OF_ALL} are allowed")
    return _command.FAILED if wrong or size > LARGEST_OF_ALL else _command.DONE


def _table(console: Console, config: ZooConfig) -> int:
    path = local_path(config.output)
    cards = [Card.read(shelf.FOLDER / f"{name}{shelf.CARD}") for name in shelf.names()]
    files.write(path, placed(_page(path), table(cards)))
    console.print(f"written: {path}")
    return _command.DONE


def _matrix(console: Console, config: ZooConfig) -> int:
    path = local_path(config.page)
    models = _of(catalog.models, config.model, "--model")
    names = _of(catalog.activations, config.activation, "--activation")
    _command.make_folder(path.parent, "--page")
    pairs = []
    for pair in measure_all(models, names, config.steps):
        told = pair.reason or f"{pair.quantity} <= {at_least(pair.bound, 4)}"
        console.print(f"{pair.model} with {pair.activation}: {told}")
        pairs.append(pair)
    files.write(path, page(pairs))
    console.print(f"written: {path}")
    broken = [pair for pair in pairs if not pair.reason and not pair.holds]
    return _command.FAILED if broken else _command.DONE


def _of(members: catalog.Catalog, chosen: Sequence[str], flag: str) -> Sequence[str]:
    """The names that were asked for, or all."""
    for name in chosen:
        if name not in members.names():
            hint = catalog.choices(name, members.names())
            raise _command.UsageError(f"{flag}={name} is not in the catalog{hint}")
    return chosen or members.names()


def _page(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError) as error:
        raise _command.UsageError(f"cannot read --output={path}: {error}") from None


def _convert(console: Console, config: ZooConfig, file: str) -> int:
    if not config.recipe or not config.weights:
        raise _command.UsageError(
            "convert takes --recipe, the model that the weights belong to, and --weights, where "
            "they go: --recipe='mondeq(width=40, margin=20)' --weights=mine"
        )
    member = convert(file, config.recipe, config.weights)
    _told(console, member.card)
    slope = at_least(proof(member.model).slope())
    console.print(f"outputs change by at most {slope} times as much as scaled inputs (proved)")
    console.print(f"written: {config.weights}{shelf.WEIGHTS}, {config.weights}{shelf.CARD}")
    return _command.DONE


def _told(console: Console, card: Card) -> None:
    console.print(card.name)
    for heading, text in card.rows:
        console.print(f"  {heading}: {text}")


if __name__ == "__main__":
    main()
