"""Settings from YAML: a file, or a profile that ships with the program."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from config.settings import Settings
from events.errors import SettingsError


def profile_names() -> list[str]:
    """The profiles that ship with the program.

    >>> profile_names()
    ['default', 'short']
    """
    files = resources.files("config.profiles").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def load(name: str | None = None, overrides: dict[str, Any] | None = None) -> Settings:
    """Settings of a YAML file or shipped profile (by its bare name), defaults where it says nothing.

    Args:
        name: path of a file, or the name of a profile; None for the defaults.
        overrides: nested settings that win over the file.

    Raises:
        SettingsError: the file cannot be read, or settings are wrong; all of them are named, with their paths.
    """
    tree = _read(name) if name else {}
    for section, values in (overrides or {}).items():
        tree[section] = {**tree.get(section, {}), **values}
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        said = [f"  {_path(e['loc'])}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()]
        where = name or "the settings"
        raise SettingsError(f"{where}: {len(said)} wrong setting{'s' * (len(said) > 1)}\n" + "\n".join(said)) from None


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) or "settings"


def _read(name: str) -> dict[str, Any]:
    if name in profile_names():
        text = resources.files("config.profiles").joinpath(f"{name}.yaml").read_text("utf-8")
    else:
        try:
            text = Path(name).read_text("utf-8")
        except FileNotFoundError:
            raise SettingsError(
                f"there is no settings file {name}, nor a profile of that name (profiles: {', '.join(profile_names())})"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"the settings file {name} cannot be read: {error}") from None
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"{name} is not valid YAML: {error}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict) or not all(isinstance(v, dict) for v in tree.values()):
        raise SettingsError(f"{name} must hold sections such as `bars:` with settings in them")
    return tree
