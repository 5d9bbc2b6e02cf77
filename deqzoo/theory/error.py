"""The error of the theory room."""

from __future__ import annotations


class TheoryError(ValueError):
    """Something the theorems do not speak of; the message says what they need."""
