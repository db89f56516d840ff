"""A YAML document as plain data that remembers the line of every value, with references to the environment expanded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from config.grammar import escaped, expand, is_secret_name
from config.problems import Origin, Path, Problem

_EXPLICIT = "!"
_MERGE, _MAPPING, _SEQUENCE = (f"tag:yaml.org,2002:{name}" for name in ("merge", "map", "seq"))


@dataclass
class Document:
    """Settings as they were given.

    Attributes:
        data: nested dicts, lists and scalars; None where a value could not be made.
        origins: where each value was given, by path.
        problems: what was wrong.
        holes: the paths of values that could not be made.
    """

    data: Any = None
    origins: dict[Path, Origin] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    holes: set[Path] = field(default_factory=set)


class _Loader(yaml.SafeLoader):
    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        event: yaml.ScalarEvent = self.peek_event()  # type: ignore[no-untyped-call]
        node: yaml.ScalarNode = super().compose_scalar_node(anchor)
        if event.tag is not None:
            node.style = _EXPLICIT  # a type that was asked for stays, whatever the text becomes
        return node


def read_document(text: str, source: str, environ: Mapping[str, str]) -> Document:
    r"""The document in `text`, an empty one if it holds nothing; syntax errors and the like are among its problems.

    >>> document = read_document("bars:\n  max_fill: ${B}\n", "my.yaml", {"B": "7"})
    >>> document.data, document.origins["bars", "max_fill"].line
    ({'bars': {'max_fill': 7}}, 2)
    """
    document = Document()
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.YAMLError as error:
        document.problems.append(_syntax(error, text, source))
        document.holes.add(())
        return document
    if node is not None:
        document.data = _Reader(loader, source, environ, document).value(node, (), node, ())
    return document


def read_value(text: str, origin: Origin, path: Path) -> Document:
    """The YAML scalar or flow collection in `text`, as it is: nothing in it is expanded.

    >>> read_value("[1m, 5m]", Origin("environment T"), ("bars", "time")).data
    ['1m', '5m']
    """
    document = read_document(escaped(text), origin.source, {})
    placed = Document(document.data, {path + inner: origin for inner in document.origins} or {path: origin})
    for problem in document.problems:
        message = "is not valid YAML" if origin.secret else problem.message
        placed.problems.append(Problem(origin, path + problem.path, message))
    placed.holes = {path + inner for inner in document.holes}
    if isinstance(document.data, dict | list) and not text.lstrip().startswith(("[", "{")):
        placed.holes.add(path)
        placed.problems.append(Problem(origin, path, "must be a scalar, or a collection written as [...] or {...}"))
    return placed


def _syntax(error: yaml.YAMLError, text: str, source: str) -> Problem:
    line, what = 1, str(error)
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        what = ", ".join(part for part in (error.context, error.problem) if part)
        lines = text.splitlines()
        if "${" in (lines[line - 1] if line <= len(lines) else ""):
            what += "; inside [...] and {...} put quotes around ${...}"
    elif isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        code = error.character if isinstance(error.character, int) else ord(error.character)
        what = f"the character U+{code:04X} is not allowed"
    return Problem(Origin(source, line), (), f"not valid YAML: {what}")


class _Reader:
    """Turns the nodes of a document into data."""

    def __init__(self, loader: yaml.SafeLoader, source: str, environ: Mapping[str, str], document: Document) -> None:
        self.loader, self.source, self.environ, self.document = loader, source, environ, document

    def value(self, node: yaml.Node, path: Path, at: yaml.Node, above: tuple[yaml.Node, ...]) -> Any:
        """The data of a node; `at` is the node whose line it is known by, `above` are those it stands in."""
        self.document.origins[path] = Origin(self.source, at.start_mark.line + 1)
        if node in above:
            return self._hole(path, at, "an anchor that stands in itself")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path, at)
        above = (*above, node)
        if isinstance(node, yaml.SequenceNode) and node.tag == _SEQUENCE:
            return [self.value(item, (*path, place), item, above) for place, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode) and node.tag == _MAPPING:
            entries = self._entries(node, path)
            return {name: self.value(value, (*path, name), key, above) for name, (key, value) in entries.items()}
        return self._hole(path, at, f"the tag {node.tag} is not known")

    def _wrong(self, path: Path, at: yaml.Node, message: str) -> None:
        self.document.problems.append(Problem(Origin(self.source, at.start_mark.line + 1), path, message))

    def _hole(self, path: Path, at: yaml.Node, message: str) -> None:
        self._wrong(path, at, message)
        self.document.holes.add(path)

    def _scalar(self, node: yaml.ScalarNode, path: Path, at: yaml.Node) -> Any:
        done = expand(node.value, self.environ)
        for problem in done.problems:
            self._hole(path, at, problem)
        if done.names:
            secret = any(map(is_secret_name, done.names))
            line = at.start_mark.line + 1
            self.document.origins[path] = Origin(self.source, line, done.template, secret, done.text if secret else "")
        if done.problems:
            return None
        tag = node.tag
        if node.style is None:
            tag = self.loader.resolve(yaml.ScalarNode, done.text, (True, False))  # type: ignore[no-untyped-call]
        try:
            made = yaml.ScalarNode(tag, done.text, node.start_mark, node.end_mark)
            return self.loader.construct_object(made, deep=True)
        except yaml.MarkedYAMLError as error:
            return self._hole(path, at, str(error.problem))
        except (ValueError, LookupError, AttributeError, OverflowError):  # what the constructors of PyYAML let through
            return self._hole(path, at, f"cannot be read as {tag.rpartition(':')[2]}")

    def _entries(
        self, node: yaml.MappingNode, path: Path, merging: tuple[yaml.Node, ...] = ()
    ) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """The entries of a mapping by name; merged ones (`<<`) give way to its own."""
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._wrong(path, key, "a name must be text, not a list or a mapping")
            elif key.tag == _MERGE:
                for source in self._merged(value, path, (*merging, node)):
                    for name, entry in self._entries(source, path, (*merging, node)).items():
                        merged.setdefault(name, entry)
            elif "${" in key.value:
                self._wrong((*path, key.value), key, "${...} is for values, not for names")
            elif key.value in own:
                first = own[key.value][0].start_mark.line + 1
                self._wrong((*path, key.value), key, f"is given twice, first in line {first}")
            else:
                own[key.value] = (key, value)
        return merged | own

    def _merged(self, value: yaml.Node, path: Path, merging: tuple[yaml.Node, ...]) -> Iterator[yaml.MappingNode]:
        for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
            if isinstance(source, yaml.MappingNode) and source not in merging:
                yield source
            else:
                self._wrong(path, source, "<< merges other mappings only")
