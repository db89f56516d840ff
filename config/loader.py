"""Settings from YAML, the environment and arguments: a file, or a profile that ships with the program."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from config.calibration import with_table
from config.document import Document, read_document
from config.problems import Origin, Problem, in_order, said
from config.problems import Path as Place
from config.settings import Settings
from config.sources import apply_arguments, apply_environment, assign
from config.validation import Validation
from events.errors import SettingsError


@dataclass(frozen=True)
class Resolved:
    """Settings, where each came from, and what is wrong with them.

    Attributes:
        name: of the file or profile, or `the settings`.
        problems: all that is wrong, in the order of the file.
        origins: where each setting was given, by path; those of the defaults are not in it.
        partial: the settings, those that are wrong left out; None where that is impossible.
    """

    name: str
    problems: tuple[Problem, ...]
    origins: Mapping[Place, Origin]
    partial: Settings | None

    @property
    def settings(self) -> Settings:
        """The settings.

        Raises:
            SettingsError: there are problems; the text has a line for each.
        """
        if self.problems or self.partial is None:
            raise SettingsError(said(self.name, self.problems))
        return self.partial

    def origin(self, path: Place) -> Origin:
        """Where the setting at this path, or what it stands in, was given; the file as a whole, if it does not say."""
        places = (path[:n] for n in range(len(path), 0, -1))
        return next((self.origins[place] for place in places if place in self.origins), Origin(self.name))


def profile_names() -> list[str]:
    """The profiles that ship with the program.

    >>> profile_names()
    ['default', 'short']
    """
    files = resources.files("config.profiles").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def load(name: str | None = None, overrides: dict[str, Any] | None = None) -> Settings:
    """Settings of a YAML file or shipped profile (by its bare name), defaults where it says nothing.

    Variables such as TIDEWAX__BARS__MAX_FILL win over the file, `overrides` over both.

    Args:
        name: path of a file, or the name of a profile; None for the defaults.
        overrides: nested settings that win over all others.

    Raises:
        SettingsError: the file cannot be read, or settings are wrong; each has a line `FILE:LINE: path: message`.

    >>> load(None, {"run": {"chunk": 7}}).run.chunk
    7
    """
    return resolve(name, overrides).settings


def resolve(
    name: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    assigned: Sequence[tuple[Place, str, Origin]] = (),
) -> Resolved:
    """What `load` does, with the problems as data and where each setting came from.

    Args:
        name: as for `load`.
        overrides: as for `load`.
        environ: the environment; that of the process, if not given.
        assigned: (path, YAML text, origin) of settings that win over all others.

    Raises:
        SettingsError: the file cannot be read.

    >>> [str(problem) for problem in resolve(None, {"bars": {"tiem": 7}}, {}).problems]
    ['arguments: bars.tiem: unknown setting; did you mean time?']
    """
    environ = os.environ if environ is None else environ
    title = "the settings" if name is None else f"profile {name}" if name in profile_names() else name
    document = read_document(_text(name), title, environ) if name is not None else Document()
    unreadable = () in document.holes
    apply_environment(document, Settings, environ)
    apply_arguments(document, Settings, overrides or {})
    for path, text, origin in assigned:
        assign(document, Settings, path, text, origin)
    if unreadable:
        return Resolved(title, in_order(document.problems), document.origins, None)
    checked = Validation(Settings, document, Origin(title))
    settings, problems = checked.settings, [*document.problems, *checked.problems]
    if settings is not None:
        try:
            settings = with_table(settings)
        except SettingsError as error:
            place = ("signals", "calibration")
            problems.append(Problem(checked.origin(place), place, str(error)))
    resolved = Resolved(title, in_order(problems), document.origins, settings)
    return resolved if name is None or name in profile_names() else _beside(resolved, Path(name).parent)


def _beside(resolved: Resolved, folder: Path) -> Resolved:
    """The plugins that the settings file names, found from where it is."""
    settings = resolved.partial
    if settings is None or not settings.plugins.files:
        return resolved
    files = tuple(
        str(folder / file) if resolved.origin(("plugins", "files", place)).source == resolved.name else file
        for place, file in enumerate(settings.plugins.files)
    )
    plugins = settings.plugins.model_copy(update={"files": files})
    return replace(resolved, partial=settings.model_copy(update={"plugins": plugins}))


def _text(name: str) -> str:
    if name in profile_names():
        return resources.files("config.profiles").joinpath(f"{name}.yaml").read_text("utf-8")
    try:
        return Path(name).read_text("utf-8")
    except FileNotFoundError:
        raise SettingsError(
            f"there is no settings file {name}, nor a profile of that name (profiles: {', '.join(profile_names())})"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the settings file {name} cannot be read: {error}") from None
