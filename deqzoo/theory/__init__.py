"""The theory of wide DEQs, executable: population kernels, tangent kernels, certificates."""

from deqzoo.theory.bounds import GramBounds, gram_bounds
from deqzoo.theory.centred import centred
from deqzoo.theory.certificate import Certificate, Condition, Descent, Theorem
from deqzoo.theory.certify import certify
from deqzoo.theory.cross_entropy import CrossEntropyCertificate, certify_cross_entropy
from deqzoo.theory.equivalent import Equivalent, equivalent
from deqzoo.theory.error import TheoryError
from deqzoo.theory.generalisation import GeneralisationBound, generalisation_bound
from deqzoo.theory.hermite import HermiteSeries, hermite_series
from deqzoo.theory.initialise import (
    Initialisation,
    InitialisationError,
    certified_start,
    start_from,
)
from deqzoo.theory.limit import WideLimit, population_gram
from deqzoo.theory.matching import ExplicitNet, matching_net
from deqzoo.theory.mini_batches import EpochCertificate, certify_epochs
from deqzoo.theory.network import Network
from deqzoo.theory.prediction import TangentPrediction
from deqzoo.theory.regression import Posterior, kernel_regression
from deqzoo.theory.theorem_network import TheoremNetwork

__all__ = [
    "Certificate",
    "Condition",
    "CrossEntropyCertificate",
    "Descent",
    "EpochCertificate",
    "Equivalent",
    "ExplicitNet",
    "GeneralisationBound",
    "GramBounds",
    "HermiteSeries",
    "Initialisation",
    "InitialisationError",
    "Network",
    "Posterior",
    "TangentPrediction",
    "Theorem",
    "TheoremNetwork",
    "TheoryError",
    "WideLimit",
    "centred",
    "certified_start",
    "certify",
    "certify_cross_entropy",
    "certify_epochs",
    "equivalent",
    "generalisation_bound",
    "gram_bounds",
    "hermite_series",
    "kernel_regression",
    "matching_net",
    "population_gram",
    "start_from",
]
