"""Effective settings as YAML: what differs from the defaults says where it came from, and secrets stay hidden."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from pydantic import BaseModel

from config.grammar import escaped
from config.problems import HIDDEN, Origin, Path
from config.shape import at, is_secret, section_of

_ABSENT = object()


def show(settings: BaseModel, origins: Mapping[Path, Origin]) -> str:
    """All settings as YAML that gives them again, with a comment behind every value that differs from its default.

    Secrets, and what came from variables whose names contain KEY, SECRET, TOKEN or PASSWORD, are shown as `${NAME}`.

    Args:
        settings: the settings.
        origins: where each was given, by path, as `config.resolve` gives them.

    >>> from config.sections import Output
    >>> print(show(Output(directory="runs/a"), {("directory",): Origin("my.yaml", 3)}), end="")
    directory: runs/a  # my.yaml:3
    """
    writer = _Writer(type(settings), origins)
    return "\n".join(writer.mapping(settings.model_dump(mode="json"), _defaults(type(settings)), ())) + "\n"


def _defaults(root: type[BaseModel]) -> dict[str, Any]:
    """The defaults as plain data; settings that must be given have none."""
    optional = {name for name, field in root.model_fields.items() if not field.is_required()}
    blank = root.model_construct()
    return blank.model_dump(mode="json", include=optional)


class _Writer:
    """Writes the lines of one tree."""

    def __init__(self, root: type[BaseModel], origins: Mapping[Path, Origin]) -> None:
        self.root, self.origins = root, origins

    def mapping(self, value: dict[str, Any], default: Any, path: Path) -> Iterator[str]:
        """The lines of a mapping that stands at `path`."""
        indent, section = "  " * len(path), section_of(at(self.root, path))
        if default is _ABSENT and section is not None:
            default = _defaults(section)
        for name, item in value.items():
            place, usual = (*path, name), default.get(name, _ABSENT) if isinstance(default, dict) else _ABSENT
            head, hidden = f"{indent}{_flow(name)}:", self._hidden(place, item)
            if hidden is None and isinstance(item, dict) and item:
                yield head
                yield from self.mapping(item, usual, place)
            elif hidden is None and isinstance(item, list) and any(isinstance(part, dict) for part in item):
                yield head
                for n, part in enumerate(item):
                    yield f"{indent}  - {self._text(part, (*place, n))}{self._comment((*place, n), item != usual)}"
            else:
                differs = item != usual or hidden is not None
                text = hidden if hidden is not None and not isinstance(item, str) else self._text(item, place)
                yield f"{head} {text}{self._comment(place, differs)}"

    def _text(self, value: Any, path: Path) -> str:
        return _flow(self._shown(value, path))

    def _shown(self, value: Any, path: Path) -> Any:
        """The value with its secrets replaced and its `${` escaped; what is not given in a part of a list is left out."""
        hidden = self._hidden(path, value)
        if hidden is not None:
            return _Raw(hidden)
        if isinstance(value, dict):
            return {name: self._shown(item, (*path, name)) for name, item in value.items() if item is not None}
        if isinstance(value, list):
            return [self._shown(item, (*path, n)) for n, item in enumerate(value)]
        return escaped(value) if isinstance(value, str) else value

    def _hidden(self, path: Path, value: Any) -> str | None:
        """What to show in place of a value, or None if it may be shown."""
        origin, typed = self.origins.get(path), is_secret(at(self.root, path)) and value not in (None, "")
        if origin is not None and origin.template is not None and (origin.secret or typed):
            return origin.template
        return HIDDEN if typed else None

    def _comment(self, path: Path, differs: bool) -> str:
        places = (path[:n] for n in range(len(path), 0, -1))
        origin = next((self.origins[place] for place in places if place in self.origins), None)
        if not differs or origin is None:
            return ""
        shown = origin.template if origin.line and origin.template and not origin.secret else ""
        return f"  # {origin}{f', {shown}' if shown else ''}"


class _Raw(str):
    """Text that stays as it is."""


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(_Raw, lambda dumper, text: dumper.represent_str(str(text)))


def _flow(value: Any) -> str:
    """The value on one line."""
    text = yaml.dump([value], Dumper=_Dumper, default_flow_style=True, width=2**30, sort_keys=False, allow_unicode=True)
    return text.strip()[1:-1]
