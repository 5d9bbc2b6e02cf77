"""A check: every truth of a kind, asked of one member."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Check(Generic[T]):
    """check(member): each truth in turn; AssertionError where one does not hold.

    A truth is a function of the member whose name is a sentence; it raises where the sentence is
    false, with the numbers that show it. With pytest, one truth is one case::

        @pytest.mark.parametrize("truth", check_solver.truths, ids=name_of)
        def test_my_solver(truth):
            check_solver(MySolver(), only=truth)

    Attributes:
        kind: what a member is, in the singular.
        get: a recipe or a member -> the member.
        truths: the sentences.
    """

    kind: str
    get: Callable[..., T]
    truths: tuple[Callable[[T], None], ...]

    def __call__(
        self, member: T | str, *, only: Callable[[T], None] | None = None, **context: Any
    ) -> None:
        """Ask every truth, or one of them.

        Args:
            member: a member or its recipe.
            only: the truth to ask.
            **context: what the kind needs besides, such as the task of a model.

        Raises:
            AssertionError: the first truth that does not hold, the member and the numbers.
            CatalogError: the recipe fits no member.
        """
        built = self.get(member, **context)
        for truth in self.truths if only is None else (only,):
            try:
                truth(built)
            except Exception as error:
                reason = str(error) if isinstance(error, AssertionError) else repr(error)
                raise AssertionError(
                    f"the {self.kind} {member!r} breaks a truth: {name_of(truth)}\n{reason}"
                ) from error


def asked(truth: Callable[..., None], *first: Any) -> Callable[[Any], None]:
    """The truth with its first arguments given; they belong to its sentence."""

    def with_these(member: Any) -> None:
        truth(*first, member)

    with_these.__name__ = "_".join([truth.__name__, *(str(argument) for argument in first)])
    return with_these


def name_of(truth: Callable) -> str:
    """The sentence that a truth is."""
    return truth.__name__.lstrip("_").replace("_", " ")


def require(holds: Any, otherwise: str) -> None:
    """Raise where something does not hold.

    Raises:
        AssertionError: ``holds`` is false; ``otherwise`` says what was found.
    """
    if not holds:
        raise AssertionError(otherwise)


def refuses(build: Callable[[], Any], setting: dict[str, Any]) -> None:
    """Require that a setting is refused by name.

    Raises:
        AssertionError: it was taken, or the refusal does not name it.
    """
    try:
        built = build()
    except ValueError as error:
        unnamed = [name for name in setting if name not in str(error)]
        require(not unnamed, f"{setting} was refused without its name: {error}")
        return
    raise AssertionError(f"{setting} must be refused with a ValueError; it gave {built!r}")


def are_values(member: Any, **other: Any) -> None:
    """Require that a member compares and hashes by its settings, ``other`` ones included.

    Raises:
        AssertionError: it does not.
    """
    require(replace(member) == member, "an equal copy is another value")
    first, second = replace(member, **other), replace(member, **other)
    require(hash(first) == hash(second), "equal settings have different hashes")
    require(not other or first != member, f"{other} makes no difference to equality")
