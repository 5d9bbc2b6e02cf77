"""Train the table of members, measure them, and write weights and cards; goes on where it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from deqzoo import catalog
from deqzoo.analysis.subject import subject
from deqzoo.catalog import Recipe
from deqzoo.data.examples import Data
from deqzoo.runs.fit import fit
from deqzoo.runs.measures import metrics_of
from deqzoo.runs.run import Run, load_run
from deqzoo.storage import files, shelf
from deqzoo.storage.difference import difference
from deqzoo.storage.workdir import Workdir, WorkdirError
from deqzoo.sweeps import cell
from deqzoo.training.config import TrainConfig
from deqzoo.training.evaluation import LOSS
from deqzoo.training.observer import Complaint, Observer, Report
from deqzoo.training.training import TrainingError
from deqzoo.zoo.card import Card, CardError
from deqzoo.zoo.measure import first, measure, processor
from deqzoo.zoo.members import ALWAYS, LIMITS, Member
from deqzoo.zoo.results import Results
from deqzoo.zoo.save_pretrained import Told, save_pretrained
from deqzoo.zoo.without import Without

_EVERY = 10**6  # examples of a split that are looked at: all of them
BUILT, KEPT, STOPPED = "built", "kept", "stopped"
Stop = Callable[[int], bool]


class Event(NamedTuple):
    """What happened to a member.

    Attributes:
        name: of the member.
        state: ``built``, ``kept`` from before, ``stopped``, or what is under way in words.
    """

    name: str
    state: str


def build(
    members: Sequence[Member], seeds: Sequence[int], workdir: Path, stop: Stop
) -> Iterator[Event]:
    """Build one member after another below ``workdir``; the finished pairs are in ``weights``.

    Runs go on from their last checkpoint, and members whose card has these settings are kept.

    Args:
        members: of the table.
        seeds: of each; the weights of the first are kept.
        workdir: the folder of everything.
        stop: asked again and again while it trains; once true, everything is saved and the
            generator ends with ``stopped``.

    Raises:
        TrainingError: a seed cannot be trained to its end.
        WorkdirError: the folder holds runs of a member that had another line in the table.
    """
    for member in members:
        weights = workdir / "weights" / f"{member.name}{shelf.WEIGHTS}"
        if _is_built(weights, member, seeds):
            yield Event(member.name, KEPT)
            continue
        folder = workdir / "runs" / member.name
        for state in _trained(member, seeds, folder, stop):
            yield Event(member.name, state)
            if state == STOPPED:
                return
        _write(member, seeds, folder, weights)
        yield Event(member.name, BUILT)


def install(names: Sequence[str], workdir: Path, folder: Path = shelf.FOLDER) -> None:
    """Copy finished members into the package, the card after the weights that it names."""
    for name in names:
        for ending in (shelf.WEIGHTS, shelf.CARD):
            source = workdir / "weights" / f"{name}{ending}"
            files.write(folder / source.name, files.read(source))


def command(member: Member, seeds: Sequence[int]) -> str:
    """The one that builds a member again."""
    return f"python -m launch.zoo build --member={member.name} --seeds={len(seeds)}"


def _is_built(weights: Path, member: Member, seeds: Sequence[int]) -> bool:
    try:
        card = Card.read(weights.with_suffix(shelf.CARD))
    except CardError:
        return False
    same = card.blueprint.settings == replace(member.config, seed=seeds[0]).to_dict()
    measured = card.results is not None and card.results.seeds == tuple(seeds)
    return weights.is_file() and same and measured


def _trained(member: Member, seeds: Sequence[int], folder: Path, stop: Stop) -> Iterator[str]:
    _require_same(member, seeds, folder)
    yield f"trains {len(seeds)} seeds"
    for report in cell.train(member.config, seeds, folder, stop=stop):
        if "note" in report:
            yield report["note"]
    summary = Workdir(folder).read_summary()
    if summary is None:
        yield STOPPED
        return
    if summary["failed"]:
        raise TrainingError(f"{member.name}: {summary['failed']}: change its line of the table")
    for config in cell.runs(member.config, seeds, folder):
        yield f"seed {config.seed} without the equilibrium"
        if not _is_trained_without(config, stop):
            yield STOPPED
            return


def _require_same(member: Member, seeds: Sequence[int], folder: Path) -> None:
    """Refuse to measure the runs of an earlier line of the table as though they were of this one.

    Raises:
        WorkdirError: the folder holds them.
    """
    record = Workdir(folder).read_config()
    settings = {name: value for name, value in member.config.to_dict().items() if name != "seed"}
    changes = difference(record["config"], {**settings, "seeds": [*seeds]}) if record else []
    if changes:
        raise WorkdirError(
            f"{folder} holds runs with other settings ({'; '.join(changes)}): choose another "
            "--workdir, or remove that folder"
        )


class _Stopping(Observer):
    def __init__(self, stop: Stop):
        self._stop = stop

    def at_report(self, report: Report) -> Report:
        """End the run, saved, once it is to stop."""
        if self._stop(report["step"]):
            raise Complaint("stopped")
        return {}


def _is_trained_without(config: TrainConfig, stop: Stop) -> bool:
    """Train without equilibrium, with the same draws, batches and steps; False if stopped."""
    data = catalog.tasks.get(config.task).load()
    model = Without(config.build_model(data.spec, data.outputs, data.constants))
    alike = ("steps", "batch_size", "learning_rate", "optimizer", "loss", "seed", "precision")
    try:
        fit(
            model,
            data,
            workdir=f"{config.workdir}-without",
            observers=[_Stopping(stop)],
            eval_every=config.steps,
            checkpoint_every=config.steps,
            **{name: getattr(config, name) for name in alike},
        )
    except TrainingError:
        if stop(0):
            return False
        raise
    return True


def _write(member: Member, seeds: Sequence[int], folder: Path, weights: Path) -> None:
    configs = cell.runs(member.config, seeds, folder)
    run = load_run(configs[0].workdir)
    data = catalog.tasks.get(member.task).load()
    told = Told(
        results=_results(run, data, configs, folder),
        limits=(*LIMITS.get(Recipe.parse(member.task).name, ()), *ALWAYS),
        command=command(member, seeds),
    )
    save_pretrained(run, weights, told=told)


def _results(run: Run, data: Data, configs: Sequence[TrainConfig], folder: Path) -> Results:
    look = subject(run, data, _EVERY)
    metrics = metrics_of(run)
    summary = Workdir(folder).read_summary() or {}
    seeds = tuple(config.seed for config in configs)
    own = [summary["seeds"][str(seed)] for seed in seeds]
    others = [Workdir(f"{config.workdir}-without").read_summary() or {} for config in configs]
    name = f"test_{look.metric.name}"
    lines = [Workdir(config.workdir).read_metrics()[-1] for config in configs]
    test = first(look.test)
    metric = replace(look.metric, y=test.y)
    measured = measure(run.model, test, metric, metrics[LOSS])  # pyright: ignore[reportArgumentType]
    examples = data.test.examples
    return Results(
        metric=look.metric.name,
        higher_is_better=look.metric.of.higher_is_better,
        is_share=look.metric.of.is_share,
        examples=examples,
        seeds=seeds,
        values=tuple(each[name] for each in own),
        without=tuple(each[name] for each in others),
        failed=sum(round((1 - each["test_converged"]) * examples) for each in own),
        backward_steps=sum(each["backward_solver_steps"] for each in lines) / len(lines),
        seconds=summary["seconds"],
        as_one=summary["vmap"],
        cpu=processor(),
        **measured._asdict(),
    )
