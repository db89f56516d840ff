"""Settings as they were given, from a file, the environment and arguments: what comes later wins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from config.document import Document, read_value
from config.grammar import is_secret_name
from config.problems import Origin, Path, Problem, dotted, meant
from config.shape import at, is_list, paths, section_of

PREFIX = "TIDEWAX__"
"""What the names of variables that set a setting begin with: TIDEWAX__BARS__MAX_FILL=7."""


def unknown(root: type[BaseModel], path: Path) -> str:
    """The sentence about a setting that does not exist, with what may have been meant."""
    section, name = section_of(at(root, path[:-1])), str(path[-1])
    guess = meant(name, section.model_fields) if section else ""
    elsewhere = [known for known in paths(root) if known.rpartition(".")[2] == name.lower() and known != dotted(path)]
    if not guess and elsewhere:
        guess = f"; did you mean {elsewhere[0]}?"
    return f"unknown setting{guess}"


def apply_environment(document: Document, root: type[BaseModel], environ: Mapping[str, str]) -> None:
    """Put the settings that variables give into the document; variables that name no setting become problems."""
    seen: dict[Path, str] = {}
    for name in sorted(environ):
        if not name.upper().startswith(PREFIX):
            continue
        origin = _origin(name, environ[name])
        path = _place(document, root, tuple(name[len(PREFIX) :].lower().split("__")))
        if path in seen:
            document.problems.append(Problem(origin, path, f"is set by {seen[path]} too"))
        elif assign(document, root, path, environ[name], origin):
            seen[path] = name


def assign(document: Document, root: type[BaseModel], path: Path, text: str, origin: Origin) -> bool:
    """Put the setting that YAML text gives into the document; whether there is a setting of that path, else that is a problem."""
    wrong = next((path[: n + 1] for n in range(len(path)) if at(root, path[: n + 1]) is None), None)
    if wrong is not None:
        document.problems.append(Problem(origin, path, unknown(root, wrong)))
        return False
    if any(is_list(at(root, path[:n])) for n in range(len(path))):
        document.problems.append(Problem(origin, path, "a list is set as a whole, as [...]"))
        return False
    given = read_value(text, origin, path)
    document.problems += given.problems
    put(document, root, path, given)
    return True


def apply_arguments(document: Document, root: type[BaseModel], given: Mapping[str, Any]) -> None:
    """Put nested settings into the document; its sections are merged, all else is replaced."""
    placed = Document(dict(given))
    _spread(placed, (), placed.data, Origin("arguments"))
    put(document, root, (), placed)


def put(document: Document, root: type[BaseModel], path: Path, given: Document) -> None:
    """Put a value and its origins at a path: a section is merged setting by setting, all else is replaced.

    Where the document holds something else than a mapping on the way, that stays, as the problem that it is.
    """
    if isinstance(given.data, dict) and section_of(at(root, path)) is not None:
        for name, value in given.data.items():
            inner = (*path, str(name))
            origins = {place: origin for place, origin in given.origins.items() if place[: len(inner)] == inner}
            holes = {place for place in given.holes if place[: len(inner)] == inner}
            put(document, root, inner, Document(value, origins, holes=holes))
        return
    if document.data is None:
        document.data = {}
    level = document.data
    for n, name in enumerate(path[:-1]):
        if not isinstance(level, dict):
            return
        if name not in level:
            document.origins[path[: n + 1]] = Origin(given.origins[path].source)
        level = level.setdefault(name, {})
    if not isinstance(level, dict):
        return
    level[path[-1]] = given.data
    document.origins = {p: o for p, o in document.origins.items() if p[: len(path)] != path} | given.origins
    document.holes = {p for p in document.holes if p[: len(path)] != path} | given.holes


def _origin(name: str, text: str) -> Origin:
    secret = is_secret_name(name)
    return Origin(f"environment {name}", 0, f"${{{name}}}" if secret else None, secret, text if secret else "")


def _place(document: Document, root: type[BaseModel], path: Path) -> Path:
    """The path with the spelling of names that the document has, for names that the settings do not fix."""
    level, found = document.data, list[str | int]()
    for name in path:
        known = list(level) if isinstance(level, dict) else []
        same = [other for other in known if isinstance(other, str) and other.lower() == name]
        fixed = section_of(at(root, tuple(found))) is not None
        found.append(same[0] if same and not fixed else name)
        level = level.get(found[-1]) if isinstance(level, dict) else None
    return tuple(found)


def _spread(document: Document, path: Path, value: Any, origin: Origin) -> None:
    document.origins[path] = origin
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for name, item in inner:
        _spread(document, (*path, name), item, origin)
