"""Decimal digits of a proved number that promise no more than the number does."""

from __future__ import annotations

import decimal


def at_most(value: float, digits: int = 6) -> str:
    """``value`` to so many significant digits, rounded down: for what holds up to it.

    Steps, rates of decrease, radii and lower bounds are printed so.

    Example:
        >>> at_most(0.98765499), at_most(-2.0000001, 3), at_most(2.0)
        ('0.987654', '-2.01', '2')
    """
    return _rounded(value, digits, decimal.ROUND_FLOOR)


def at_least(value: float, digits: int = 6) -> str:
    """``value`` to so many significant digits, rounded up: for upper bounds.

    Example:
        >>> at_least(0.79999991), at_least(1.0000001, 4)
        ('0.8', '1.001')
    """
    return _rounded(value, digits, decimal.ROUND_CEILING)


def _rounded(value: float, digits: int, rounding: str) -> str:
    """A number of so few digits stays as it is; else decimal arithmetic sees every bit of it."""
    nearest = f"{value:.{digits}g}"
    if float(nearest) == value:
        return nearest
    exact = decimal.Decimal(float(value))
    return f"{float(decimal.Context(digits, rounding).plus(exact)):.{digits}g}"
