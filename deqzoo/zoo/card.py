"""The card of a member: what it is, what is proved of it, what was measured, and how to redo it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deqzoo.nn.guarantee import NOTHING
from deqzoo.settings import told
from deqzoo.storage import files
from deqzoo.storage.sealed import BrokenSealError, sealed, unsealed
from deqzoo.zoo import hub, schema
from deqzoo.zoo.blueprint import Blueprint
from deqzoo.zoo.packed import Packed
from deqzoo.zoo.promise import Promise, Promises
from deqzoo.zoo.proofs import Proofs
from deqzoo.zoo.results import Results
from deqzoo.zoo.schema import SchemaError

FORMAT = 2
WITHOUT = (
    "the same stem, cell and head, drawn from the same seeds and trained alike, with one "
    "evaluation of the cell at its start in place of the solve: an explicit network"
)


class CardError(ValueError):
    """A card that cannot be read, or is that of another member."""


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """The data that a member was trained on.

    Attributes:
        task: its recipe.
        licence: of the data, as the task states it.
        fingerprint: of all splits, scaled, as a run records it.
        examples: split -> how many.
    """

    task: str
    licence: str
    fingerprint: str
    examples: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Card:
    """A member of the zoo.

    Attributes:
        format: of this file.
        name: of the member, and of its two files.
        blueprint: rebuilds the model.
        equation: of the model, the first line of its docstring.
        promises: the theorems about its weights; none: nothing is proved (level C).
        parameters: how many numbers were trained.
        data: it was trained on; None if they were arrays.
        results: what ``launch.zoo build`` measured; None of a model that it did not build.
        inputs: the first test examples, raw, every array of them; empty without a task.
        reference: their outputs, solved in float64; empty without a task, or where a solve failed.
        limits: what it is not good for.
        command: that builds it again; empty if it was not built by one.
        versions: of the packages that trained it.
        weights: the checksum of all arrays of the file beside it.
    """

    format: int
    name: str
    blueprint: Blueprint
    equation: str
    promises: tuple[Promise, ...]
    parameters: int
    data: DataFacts | None
    results: Results | None
    inputs: tuple[Packed, ...]
    reference: tuple[tuple[float, ...], ...]
    limits: tuple[str, ...]
    command: str
    versions: dict[str, str]
    weights: str

    @property
    def level(self) -> str:
        """A, B, or C: nothing is proved."""
        return Promises(self.promises).level

    @property
    def theorem(self) -> str:
        """What is proved with its numbers, in the exact words if it is nothing."""
        return "; ".join(map(str, self.promises)) or NOTHING

    def write(self, path: Path) -> None:
        """Write it as sealed JSON."""
        files.write(path, files.to_json(sealed(files.plain(self))))

    @classmethod
    def read(cls, path: Path) -> Card:
        """Undo ``write``.

        Raises:
            CardError: no such file, damaged, of another format, or of a member of another name.
        """
        try:
            record = unsealed(json.loads(files.read(path)))
            if record.get("format") != FORMAT:
                raise SchemaError(f"format {record.get('format')}, this version reads {FORMAT}")
            card = schema.read(cls, record)
            card.blueprint.require_sound()
            _require_inputs(card)
        except FileNotFoundError:
            raise CardError(f"there is no card {path}: it belongs beside the weights") from None
        except (OSError, RecursionError) as error:
            raise CardError(f"the card {path} cannot be read ({told(error)})") from None
        except (BrokenSealError, ValueError) as error:
            raise CardError(
                f"the card {path} is damaged or of another version ({error}): restore it, or "
                "install deqzoo again"
            ) from None
        if card.name != path.stem:
            raise CardError(
                f"{path} is the card of {card.name!r}: give it, and its weights, the name back"
            )
        return card

    def to_hub(self) -> str:
        """A README.md for the Hugging Face Hub: ``model-index`` fields over a table of the card."""
        return hub.page(self)

    @property
    def rows(self) -> tuple[tuple[str, str], ...]:
        """All of it for a reader: a heading and a sentence each."""
        facts: list[tuple[str, str]] = [
            ("equation", self.equation),
            ("recipe", f"{self._setting('model')} with {self._setting('activation')}"),
            ("proved", self.theorem),
            *(("needs", each) for promise in self.promises for each in promise.hypotheses),
            *(("source", promise.source) for promise in self.promises),
            ("parameters", f"{self.parameters:,}"),
            *(_measured(self.results) if self.results else [("measured", "nothing")]),
            *(_proved(self.results.proofs) if self.results else []),
        ]
        if self.data is not None:
            counts = ", ".join(f"{number} {split}" for split, number in self.data.examples.items())
            facts += [
                ("data", f"{self.data.task} ({counts}), fingerprint {self.data.fingerprint}"),
                ("licence of the data", f"{self.data.licence}; also of the examples kept here"),
            ]
        facts += [("not good for", each) for each in self.limits]
        facts += [("build it again", self.command)] if self.command else []
        versions = (f"{name} {version}" for name, version in self.versions.items())
        return (*facts, ("built with", ", ".join(versions)))

    def _setting(self, name: str) -> Any:
        return self.blueprint.settings[name]


def _require_inputs(card: Card) -> None:
    if len(card.inputs) != (0 if card.data is None else len(card.blueprint.scaling)):
        raise SchemaError("the inputs kept are not those of the model")
    for each in card.inputs:
        each.array()


def _measured(found: Results) -> list[tuple[str, str]]:
    after = ", ".join(f"{steps}: {found.one(value)}" for steps, value in found.after.items())
    correlation = (
        "every example takes the same number of steps"
        if found.correlation is None
        else f"rank correlation of steps with loss {found.correlation:.2f}"
    )
    still = " (the start is zero)" if found.travel == 1 else ""
    as_one = "as one program" if found.as_one else "one after the other"
    return [
        (f"test {found.metric}", f"{found.told(found.values)} over {found.trained}"),
        ("of each seed", ", ".join(map(found.one, found.values)) + "; the first is shipped"),
        ("without equilibrium", f"{found.told(found.without)}: {WITHOUT}"),
        ("verdict", found.verdict),
        ("failed solves", f"{found.failed} of {found.examples * len(found.seeds)}"),
        (
            "training",
            f"{found.seconds:.0f} s for {found.trained} {as_one}, on {found.cpu}",
        ),
        ("what follows", f"of the first {found.looked_at} of {found.examples} test examples"),
        (f"{found.metric} after steps", after),
        ("equilibrium at work", f"travel ‖z* - z0‖/‖z*‖ {found.travel:.3g}{still}; {correlation}"),
        (
            "path independence",
            f"{found.starts_converged} of {found.starts} random starts converged; ends at most "
            f"{found.starts_distance:.1e} apart",
        ),
        (
            "solver steps",
            f"{found.forward_steps:.1f} forward (at most {found.forward_steps_max}), "
            f"{found.backward_steps:.1f} backward",
        ),
    ]


def _proved(found: Proofs) -> list[tuple[str, str]]:
    """Every share is rounded down; where there is none, why."""
    radii, labels = found.radii, found.labels
    facts = {name: f"nothing is proved: {reason}" for name, reason in found.reasons.items()}
    if radii is not None:
        pairs = zip(radii.radii, radii.certified, radii.attacked, strict=True)
        each = (f"{r:g}: {found.share(c)} / {found.share(a)} %" for r, c, a in pairs)
        facts["radii"] = (
            f"accuracy proved on balls of scaled inputs / under attack, at radius "
            f"{', '.join(each)}; without either {found.share(radii.clean)} %"
        )
    if labels is not None:
        each = (f"{steps}: {found.share(count)} %" for steps, count in labels.final.items())
        facts["labels"] = f"after steps {', '.join(each)}; {labels.violations} of them changed"
    if found.equilibria is not None:
        facts["equilibria"] = f"{found.share(found.equilibria)} % one by one (level B)"
    heads = {
        "radii": "proved robust",
        "labels": "labels proved final",
        "equilibria": "equilibria proved",
    }
    return [(head, facts.get(name, "nothing is proved")) for name, head in heads.items()]
