"""Flax begins here: the DEQ module, cells, layers and the base of all models."""

from deqzoo.nn.averaged_cell import AveragedCell
from deqzoo.nn.contractive_conv_cell import ContractiveConvCell
from deqzoo.nn.conv_cell import ConvCell
from deqzoo.nn.conv_monotone_cell import ConvMonotoneCell
from deqzoo.nn.deq import DEQ
from deqzoo.nn.flat_model import FlatModel
from deqzoo.nn.fourier_cell import FourierCell
from deqzoo.nn.freeze import freeze
from deqzoo.nn.group_norm import GroupNorm
from deqzoo.nn.image_model import ImageModel
from deqzoo.nn.implicit_cell import ImplicitCell
from deqzoo.nn.lipschitz_cell import LipschitzCell
from deqzoo.nn.mdeq_cell import MDEQCell
from deqzoo.nn.model import Model
from deqzoo.nn.monotone_cell import MonotoneCell
from deqzoo.nn.multiscale_cell import MultiscaleCell
from deqzoo.nn.nonlinearity import Nonlinearity
from deqzoo.nn.positive_cell import PositiveCell
from deqzoo.nn.pure_model import ModelState, PureModel
from deqzoo.nn.restoring_cell import RestoringCell
from deqzoo.nn.sector_cell import SectorCell
from deqzoo.nn.split_cell import SplitCell
from deqzoo.nn.symmetric_cell import SymmetricCell
from deqzoo.nn.wide_cell import WideCell

__all__ = [
    "DEQ",
    "AveragedCell",
    "ContractiveConvCell",
    "ConvCell",
    "ConvMonotoneCell",
    "FlatModel",
    "FourierCell",
    "GroupNorm",
    "ImageModel",
    "ImplicitCell",
    "MDEQCell",
    "LipschitzCell",
    "Model",
    "ModelState",
    "MonotoneCell",
    "MultiscaleCell",
    "Nonlinearity",
    "PositiveCell",
    "PureModel",
    "RestoringCell",
    "SectorCell",
    "SplitCell",
    "SymmetricCell",
    "WideCell",
    "freeze",
]
