"""Plugins of a run: Python files named in the settings, run once, and what is declared in them."""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple

import numba

from config import Settings
from operators.declare import Declaration, declaration_of
from operators.dimensions import Score
from operators.indicators import Indicator
from operators.rules import Rule

Made = Indicator | Score | Rule
Wrong = tuple[tuple[str | int, ...], str]
"""(path of the setting, what is wrong with it)."""

_KINDS: Final[dict[str, type[Indicator] | type[Score] | type[Rule]]] = {
    "indicator": Indicator,
    "score": Score,
    "rule": Rule,
}
_CODE: Final = ("function", "open", "flat", "wide")


class Plugin(NamedTuple):
    """Something declared in a file: under which name, at which place in `plugins.files`, and what the graph makes of it."""

    name: str
    place: int
    made: Made


@dataclass(frozen=True)
class Plugins:
    """All that the files of a run declare.

    Attributes:
        files: (path, SHA-256 of its bytes) of each file that could be read.
        found: what they declare, in the order of the files.
        wrong: what was wrong with them.
    """

    files: tuple[tuple[str, str], ...] = ()
    found: tuple[Plugin, ...] = ()
    wrong: tuple[Wrong, ...] = ()

    @property
    def indicators(self) -> tuple[Indicator, ...]:
        """The indicators among them."""
        return tuple(plugin.made for plugin in self.found if isinstance(plugin.made, Indicator))

    @property
    def scores(self) -> tuple[Score, ...]:
        """The scores among them."""
        return tuple(plugin.made for plugin in self.found if isinstance(plugin.made, Score))

    @property
    def rules(self) -> dict[str, Rule]:
        """The rules among them, by name."""
        return {plugin.name: plugin.made for plugin in self.found if isinstance(plugin.made, Rule)}

    def identity(self) -> list[Any]:
        """What enters the analysis hash: names, versions, parameters and declarations; neither paths nor the code."""
        return [[plugin.name, *plugin.made.identity()] for plugin in self.found]

    def described(self) -> dict[str, Any]:
        """The plugins as run.json keeps them: what has to be known to read the run, without the files."""
        return {"files": [list(file) for file in self.files], "declared": [_described(plugin) for plugin in self.found]}


def load_plugins(settings: Settings) -> Plugins:
    """Run the files that the settings name, and make what is declared in them; faults are among its `wrong`."""
    files: list[tuple[str, str]] = []
    found: list[Plugin] = []
    wrong: list[Wrong] = []
    names: dict[str, str] = {}
    for place, file in enumerate(settings.plugins.files):
        path: tuple[str | int, ...] = ("plugins", "files", place)
        try:
            source, declared = read_plugin(Path(file))
        except ValueError as error:
            wrong.append((path, str(error)))
            continue
        files.append((file, hashlib.sha256(source).hexdigest()))
        for declaration in declared:
            name = declaration.name
            if name in names:
                wrong.append((path, f"{file} declares {name!r}, which {names[name]} does too"))
                continue
            names[name] = file
            parameters = settings.plugins.parameters.get(name, {})
            try:
                found.append(Plugin(name, place, declaration.made(parameters)))
            except Exception as error:  # lookback, stable and history may be functions of the user's
                wrong.append((("plugins", "parameters", name) if parameters else path, f"{error}"))
    if len(files) == len(settings.plugins.files):  # else the file that cannot be used may hold what is missing
        for name in settings.plugins.parameters:
            if name not in names:
                said = f"no plugin declares {name!r}; there are {', '.join(names) or 'none'}"
                wrong.append((("plugins", "parameters", name), said))
    return Plugins(tuple(files), tuple(found), tuple(wrong))


def stored_plugins(run: Mapping[str, Any]) -> Plugins:
    """The plugins of a finished run, by what run.json keeps of them; their functions are not there."""
    stored = run.get("plugins", {})
    found = (
        Plugin(entry["name"], entry["place"], _revived(entry["kind"], entry["declared"]))
        for entry in stored.get("declared", ())
    )
    return Plugins(tuple((path, digest) for path, digest in stored.get("files", ())), tuple(found))


def read_plugin(path: Path) -> tuple[bytes, list[Declaration]]:
    """The bytes of a plugin file, and what it declares, in order; the file is run.

    Raises:
        ValueError: it cannot be read, raises when it is run, or declares nothing.
    """
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ValueError(f"the plugin {path} cannot be read: {error.strerror}") from None
    name = f"tidewax_plugin_{path.stem}"
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # where dataclasses and the cache of compiled functions look for it
    try:
        with _own_cache(path):
            exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{_where(path, error)}: {type(error).__name__}: {_said(error)}") from None
    found = [declaration_of(item) for item in module.__dict__.values()]
    declared = [d for d in found if d is not None and d.function.__module__ == name]
    unique = list({id(declaration): declaration for declaration in declared}.values())
    if not unique:
        raise ValueError(f"{path} declares nothing: put @indicator, @score(...) or @rule(...) above a function")
    return source, unique


@contextmanager
def _own_cache(path: Path) -> Iterator[None]:
    """Compiled functions of the file are cached apart from those of notebooks: a cache knows under which name it was made."""
    compiler: Any = numba.config
    usual = compiler.CACHE_DIR
    compiler.CACHE_DIR = str(Path(usual or path.parent / "__pycache__") / "tidewax")
    try:
        yield
    finally:
        compiler.CACHE_DIR = usual


def _where(path: Path, error: BaseException) -> str:
    """The file and the last line of it that the error passed."""
    line = error.lineno if isinstance(error, SyntaxError) and error.filename == str(path) else None
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == str(path):
            line = frame.lineno
    return f"{path}, line {line}" if line else str(path)


def _said(error: BaseException) -> str:
    return error.msg if isinstance(error, SyntaxError) else str(error)


def _described(plugin: Plugin) -> dict[str, Any]:
    kind = next(kind for kind, of in _KINDS.items() if isinstance(plugin.made, of))
    declared = {f.name: getattr(plugin.made, f.name) for f in fields(plugin.made) if f.name not in _CODE}
    return {"kind": kind, "name": plugin.name, "place": plugin.place, "declared": declared}


def _revived(kind: str, declared: Mapping[str, Any]) -> Made:
    plain: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in declared.items()
    }
    return _KINDS[kind](function=_absent, **plain)


def _absent(*_: Any) -> Any:
    raise RuntimeError("the functions of a finished run's plugins are not kept")
