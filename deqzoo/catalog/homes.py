"""Where the members of a catalog live: the files of its folder, and what other packages bring."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deqzoo.recipe import CatalogError
from deqzoo.settings import told

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Home:
    """Where a member lives: an importable ``module`` or ``module:object``, and who brought it."""

    target: str
    origin: str


def homes(package: str, group: str) -> dict[str, list[Home]]:
    """Name -> every home of a member of that name. Imports no member.

    Args:
        package: the folder of the built-in members as a dotted package name.
        group: of the entry points ``deqzoo.<group>``.
    """
    found: dict[str, list[Home]] = {}
    for name, home in (*_folder(package), *_entry_points(group)):
        found.setdefault(name, []).append(home)
    return found


def imported(home: Home, what: str) -> Any:
    """The object that lives there.

    Args:
        home: of a member.
        what: it is, for the message, such as ``solver 'picard'``.

    Raises:
        CatalogError: it cannot be imported, or the file is not that of one public name.
    """
    module_name, _, attribute = home.target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise CatalogError(
            f"the {what} from {home.origin} cannot be imported: {told(error)}"
        ) from error
    if not attribute:
        _require_own_file(module, home)
        attribute = _only_name(module, home)
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise CatalogError(f"{home.origin} has no object {attribute!r} for the {what}") from None


def import_plugin(module: str) -> None:
    """Import a module that registers plug-ins (``--plugin=module``).

    Raises:
        CatalogError: the module cannot be imported.
    """
    if module.endswith(".py") or "/" in module:
        raise CatalogError(
            f"--plugin={module} names a file: name the module, --plugin={Path(module).stem}, with "
            "its folder as the current one or in PYTHONPATH"
        )
    try:
        importlib.import_module(module)
    except Exception as error:
        raise CatalogError(
            f"cannot import the plug-in module {module!r}: {told(error)}; "
            "it must be importable from the current folder or installed"
        ) from error


def require_asked_for(what: str, named: Iterable[str], asked: Sequence[str]) -> None:
    """Refuse to import what a file names and nobody asked for: it may be anybody's file.

    Args:
        what: names the modules, for the message.
        named: the modules.
        asked: those that may be imported; what is imported already may be as well.

    Raises:
        CatalogError: there are others.
    """
    missing = [module for module in named if module not in asked and module not in sys.modules]
    if missing:
        flags = " ".join(f"--plugin={module}" for module in missing)
        raise CatalogError(
            f"{what} needs {', '.join(missing)}, and to import a module is to run its code: if you "
            f"trust it, ask for it with {flags}, in Python with plugins={missing}"
        )


def _folder(package: str) -> list[tuple[str, Home]]:
    folder = ROOT.joinpath(*package.split("."))
    files = sorted(folder.glob("[!_]*.py")) if folder.is_dir() else []
    return [(file.stem, Home(f"{package}.{file.stem}", str(file))) for file in files]


def _entry_points(group: str) -> list[tuple[str, Home]]:
    places = tuple((folder, _changed(folder)) for folder in sys.path)
    found = _entry_points_in(places, f"deqzoo.{group}")
    unique = {(point.name, point.value): point for point in found}  # a checkout is listed twice
    return [
        (point.name, Home(point.value, f"the package {point.dist.name if point.dist else '?'}"))
        for point in unique.values()
    ]


@functools.lru_cache(maxsize=64)
def _entry_points_in(
    places: tuple[tuple[str, int], ...], group: str
) -> importlib.metadata.EntryPoints:
    """Those of all packages: to find them, a file of every one is read."""
    return importlib.metadata.entry_points(group=group)


def _changed(folder: str) -> int:
    """When something was last put into a folder, as an installed package is; 0 if there is none."""
    try:
        return os.stat(folder or os.curdir).st_mtime_ns
    except OSError:
        return 0


def _require_own_file(module: Any, home: Home) -> None:
    if Path(module.__file__).resolve() != Path(home.origin).resolve():
        raise CatalogError(
            f"another package owns the import name {home.target.partition('.')[0]!r} "
            f"({module.__file__}); install deqzoo in a virtual environment of its own"
        )


def _only_name(module: Any, home: Home) -> str:
    public = getattr(module, "__all__", ())
    if len(public) != 1:
        raise CatalogError(
            f"{home.origin}: a member's __all__ must hold exactly one public name, got "
            f"{list(public)}"
        )
    return public[0]
