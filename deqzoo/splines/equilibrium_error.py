"""How far an equilibrium moves when its activation is replaced by one that is near."""

from __future__ import annotations

import math
from typing import Annotated

from deqzoo.settings import In, fitted


def equilibrium_error(error: float, units: int, norm: float, lipschitz: float) -> float:
    """‖z - z'‖₂ <= ε√m/(1 - ‖W‖₂ L) for z = φ(Wz + u) and z' = s(Wz' + u), |φ - s| <= ε.

    For ‖z - z'‖ <= ‖φ(a) - s(a)‖ + ‖s(a) - s(a')‖ with a = Wz + u, a' = Wz' + u, which is at most
    ε√m + L‖W‖‖z - z'‖. The bound of |φ - s| is needed at the entries of a alone.

    Args:
        error: ε.
        units: m, entries of z.
        norm: ‖W‖₂.
        lipschitz: L, a bound of |s'|, or of |φ'|: the roles may be exchanged.

    Raises:
        SettingError: an argument out of range.
        ValueError: ‖W‖₂ L is not below 1.

    References:
        The bound: deqzoo.

    Example:
        >>> from deqzoo.splines import equilibrium_error
        >>> equilibrium_error(0.01, units=16, norm=0.5, lipschitz=1.0)
        0.08
    """
    error = fitted("error", error, Annotated[float, In("[0, inf)")])
    units = fitted("units", units, Annotated[int, In("[1, inf)")])
    gain = fitted("norm", norm, Annotated[float, In("[0, inf)")])
    gain *= fitted("lipschitz", lipschitz, Annotated[float, In("[0, inf)")])
    if gain >= 1:
        raise ValueError(
            f"expected ‖W‖₂ L < 1, got {gain:.6g}: the map does not contract, and its equilibrium "
            "may move far; make W smaller"
        )
    return error * math.sqrt(units) / (1 - gain)
