"""What tasks of images offer besides: training batches that are moved and mirrored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from deqzoo.data.augmentation import Augmentation
from deqzoo.data.task import Task
from deqzoo.settings import In


@dataclass(frozen=True)
class Images(Task):
    """A task of images (n, height, width, channels).

    To write one, derive from it as from ``Task``, and let ``read`` give
    ``Data(..., augmentation=self.augmentation)``.

    Attributes:
        shift: training images are moved by up to so many pixels up or down and left or right, anew
            in every step; what comes in is black. By keyword.
        flip: half of the training images, others in every step, are mirrored left to right: not for
            digits, which have a side. By keyword.
    """

    shift: Annotated[int, In("[0, inf)")] = field(default=0, kw_only=True)
    flip: bool = field(default=False, kw_only=True)

    @property
    def augmentation(self) -> Augmentation | None:
        """What becomes of training images; None where nothing is asked for."""
        asked = Augmentation(self.shift, self.flip)
        return None if asked == Augmentation() else asked
