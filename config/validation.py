"""What pydantic says of a document, as problems with lines: all of them at once, those of cross-checks too."""

from __future__ import annotations

import copy
import re
from typing import Any, Generic, TypeVar, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from config.document import Document
from config.problems import HIDDEN, Origin, Path, Problem, dotted, meant, related
from config.shape import at, is_kept_back, is_secret, section_of
from config.sources import unknown

Tree = TypeVar("Tree", bound=BaseModel)

_MUST_BE = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text (in quotes, if it would read as something else)",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping of names to settings",
    "greater_than": "greater than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
}
_MOST_PASSES = 5


class Validation(Generic[Tree]):
    """A document held against the tree of settings.

    Attributes:
        problems: all that is wrong with it.
        settings: the settings; of those that are wrong the defaults. None if even that is impossible.
    """

    def __init__(self, root: type[Tree], document: Document, fallback: Origin) -> None:
        self.root, self.document, self.fallback = root, document, fallback
        self.problems: list[Problem] = []
        self.failed: set[Path] = set(document.holes)
        self.settings: Tree | None = None
        data = {} if document.data is None and not document.holes else copy.deepcopy(document.data)
        for turn in range(_MOST_PASSES):
            found = self._validate(data, turn > 0)
            self.failed |= found
            if not found or () in self.failed:
                break
            for path in sorted(found | document.holes if turn == 0 else found, key=len):
                _prune(data, path)

    def origin(self, path: Path) -> Origin:
        """Where the setting at this path, or what it stands in, was given."""
        for n in range(len(path), -1, -1):
            if path[:n] in self.document.origins:
                return self.document.origins[path[:n]]
        return self.fallback

    def _validate(self, data: Any, again: bool) -> set[Path]:
        """One pass; gives the paths that failed. Later passes are over what the earlier ones left, and find cross-checks."""
        try:
            settings = self.root.model_validate(data)
        except ValidationError as error:
            groups: dict[Path, list[ErrorDetails]] = {}
            for detail in error.errors(include_url=False):
                groups.setdefault(_path(data, detail), []).append(detail)
            return {failed for path, details in groups.items() for failed in self._report(path, details, again)}
        self.settings = None if () in self.failed else settings
        return set()

    def _report(self, path: Path, details: list[ErrorDetails], again: bool) -> set[Path]:
        """Add the problems of one path; gives the settings that they are about."""
        if any(path[: len(hole)] == hole for hole in self.document.holes):
            return {path}
        if details[0]["type"] != "value_error" or len(details) > 1:
            if not again:
                self._add(path, self.origin(path), self._sentence(path, details))
            return {path}
        about: set[Path] = set()
        for message in str(details[0]["msg"]).removeprefix("Value error, ").split("\n"):
            named = self._named(path, message)
            if not again or not any(related(a, b) for a in named or [path] for b in self.failed):
                origins = [self.document.origins[p] for p in named if p in self.document.origins]
                self._add(named[0] if named else path, origins[0] if origins else self.origin(path), message)
            about.update(named or [path])
        return about

    def _add(self, path: Path, origin: Origin, message: str) -> None:
        for place, known in self.document.origins.items():
            if known.secret and known.text and related(place, path):
                for text in (known.text, repr(known.text)[1:-1]):
                    message = message.replace(text, known.template or HIDDEN)
        self.problems.append(Problem(origin, path, message.removeprefix(f"{dotted(path)} ")))

    def _named(self, path: Path, message: str) -> list[Path]:
        """The settings that a message about a section names: `signals.tf`, or `tf` where it is about `signals`."""
        if section_of(at(self.root, path)) is None:
            return []
        words = [tuple(word.split(".")) for word in re.findall(r"[A-Za-z_]\w*(?:\.\w+)*", message)]
        absolute = [word for word in words if len(word) > 1 and at(self.root, word) is not None]
        relative = [(*path, *word) for word in words if path and at(self.root, (*path, *word)) is not None]
        return cast(list[Path], absolute or relative)

    def _sentence(self, path: Path, details: list[ErrorDetails]) -> str:
        first, given = details[0], details[0]["input"]
        if first["type"] == "extra_forbidden":
            return unknown(self.root, path)
        if first["type"] == "missing":
            return "is missing"
        if first["type"] in ("model_type", "model_attributes_type"):
            return f"must {'be a section with settings in it' if path else 'hold sections such as `bars:`'}{_is(given)}"
        wanted, choices = [], ""
        for detail in details:
            form, context = _MUST_BE.get(detail["type"]), detail.get("ctx", {})
            if form is None:
                wanted.append("")
                continue
            bounds = {name: f"{value:g}" if isinstance(value, float) else value for name, value in context.items()}
            wanted.append(form.format(**bounds))
            if detail["type"] == "literal_error":
                choices = meant(str(given), re.findall(r"'([^']*)'", str(context["expected"])))
        if "" in wanted:
            return "; ".join(str(detail["msg"]).removeprefix("Value error, ") for detail in details)
        secret = is_secret(at(self.root, path)) or is_kept_back(self.root, path) or self.origin(path).secret
        return f"must be {' or '.join(dict.fromkeys(wanted))}{'' if secret else _is(given)}{choices}"


def _is(value: Any) -> str:
    if value is None:
        return ", not empty"
    if isinstance(value, str | int | float):
        return f", not {str(value).lower() if isinstance(value, bool) else repr(value)}"
    return f", not a {'mapping' if isinstance(value, dict) else 'list'}" if isinstance(value, dict | list) else ""


def _path(data: Any, detail: ErrorDetails) -> Path:
    """The path of the setting; pydantic puts the names of the members of unions into its own."""
    found: list[str | int] = []
    level = data
    for place, name in enumerate(detail["loc"]):
        last = place == len(detail["loc"]) - 1
        held = level if isinstance(level, dict) else range(len(level)) if isinstance(level, list | tuple) else ()
        if name in held:
            level = level[name]
        elif not (last and detail["type"] == "missing"):
            continue
        found.append(name)
    return tuple(found)


def _prune(data: Any, path: Path) -> None:
    """Take out a value; of lists, and of what lacks a part, the whole."""
    level, last, above = data, None, data
    for place, name in enumerate(path):
        if not isinstance(level, dict):
            break
        if name not in level:
            if place < len(path) - 1:
                return
            break
        last, above, level = name, level, level[name]
    if last is not None:
        above.pop(last, None)
