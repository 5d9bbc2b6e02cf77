"""Flax begins here: the DEQ module, well-posed cells and the base of all models."""

from deqzoo.nn.deq import DEQ
from deqzoo.nn.model import Model
from deqzoo.nn.wide_cell import WideCell

__all__ = ["DEQ", "Model", "WideCell"]
