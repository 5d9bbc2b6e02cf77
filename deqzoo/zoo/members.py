"""The table of the trained members: a line each, of what ``launch.zoo build`` trains."""

from __future__ import annotations

import re
from dataclasses import dataclass

from deqzoo.training.config import TrainConfig


@dataclass(frozen=True)
class Member:
    """A model trained on a task.

    Attributes:
        model: recipe.
        activation: recipe.
        task: recipe.
        steps: of training.
        learning_rate: of the optimizer.
        optimizer: recipe.
        batch_size: examples a step, or ``"full"``.
        tag: told after the name, where two members differ in nothing else.
    """

    model: str
    activation: str
    task: str
    steps: int
    learning_rate: float
    optimizer: str = "adam"
    batch_size: str = "128"
    tag: str = ""

    @property
    def name(self) -> str:
        """``mondeq-digits-gelu``."""
        parts = (self.model, self.task, self.activation, self.tag)
        return "-".join(re.sub(r"[^\w.=]+", "-", part).strip("-") for part in parts if part)

    @property
    def config(self) -> TrainConfig:
        """The settings of its runs; seed and folder are set by whoever trains it."""
        return TrainConfig(
            model=self.model,
            activation=self.activation,
            task=self.task,
            steps=self.steps,
            learning_rate=repr(self.learning_rate),
            optimizer=self.optimizer,
            batch_size=self.batch_size,
        )


MEMBERS = (
    Member("mondeq", "relu", "digits", 600, 3e-3),
    Member("mondeq", "gelu", "digits", 600, 3e-3),
    Member("mondeq", "tanh", "digits", 600, 3e-3),
    Member("lben", "relu", "digits", 600, 3e-3),
    Member("lben", "gelu", "digits", 600, 3e-3),
    Member("opteq", "tanh", "digits", 600, 3e-3),
    Member("opteq(sign=-1)", "tanh", "digits", 600, 3e-3),
    Member("implicit", "gelu", "digits", 600, 3e-3),
    Member("classifier", "gelu", "digits", 600, 3e-3),
    Member("classifier", "tanh", "digits", 600, 3e-3),
    Member("mondeq", "gelu", "mnist", 600, 3e-3),
    Member("classifier(width=64)", "gelu", "mnist", 600, 3e-3),
    Member("convdeq", "gelu", "fashion(examples=4000)", 200, 3e-3),
    Member("multiscale", "relu", "fashion(examples=4000)", 200, 3e-3),
)

# What the members of a task are not good for, by the name of the task.
LIMITS = {
    "digits": (
        "anything but single centred digits of 8 x 8 pixels of 17 grey levels, written in "
        "boxes on a form; photographs and other scans give answers without meaning",
    ),
    "mnist": (
        "anything but single centred digits of 28 x 28 pixels, light on dark, of the size and "
        "blur of MNIST; photographs and other scans give answers without meaning",
        "figures beside those of papers: it saw 3,600 images and was tested on 1,000 others of "
        "the same 5,000",
    ),
    "fashion": (
        "anything but the grey clothes of 28 x 28 pixels of Fashion-MNIST; photographs give "
        "answers without meaning",
        "figures beside those of papers: it saw 3,600 of the 60,000 training images",
    ),
}
ALWAYS = (
    "inputs unlike its data: it gives them an answer too, and nothing says that it is wrong",
    "decisions about people: it is small and meant for study",
)
