"""A printed bound is no better than the proved one, and loses no more than its last digit."""

import math
from fractions import Fraction

import numpy as np
import pytest

from deqzoo.activation.digits import at_least, at_most

RNG = np.random.default_rng(0)
NUMBERS = RNG.standard_normal(500) * 10.0 ** RNG.integers(-300, 300, 500)
EDGES = [0.0, 1.0, -1.0, 0.1, 999999.5, 9999995.0, 3e-308, math.pi]


@pytest.mark.parametrize("digits", [1, 3, 6, 12, 15])
def test_printed_numbers_lie_on_the_safe_side_within_a_digit(digits):
    for value in [*NUMBERS.tolist(), *EDGES]:
        below, above = at_most(value, digits), at_least(value, digits)
        assert float(below) <= value <= float(above)
        assert Fraction(above) - Fraction(below) <= abs(Fraction(value)) * Fraction(10) ** (
            1 - digits
        )


def test_numbers_of_few_digits_are_printed_as_they_are():
    for text in ("0", "1", "-2.5", "0.125", "1e-07", "4096", "1e+20"):
        assert at_most(float(text)) == at_least(float(text)) == text


def test_what_is_no_number_is_said():
    assert (at_most(math.inf), at_least(-math.inf), at_most(math.nan)) == ("inf", "-inf", "nan")
