"""The shape of a tree of settings: what stands at a path, by the types of its sections."""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr

from config.problems import Path, dotted

Secret = SecretStr
"""Type of settings whose values are never shown: passwords, keys."""

_LISTS = (tuple, list, set, frozenset)


def options(annotation: Any) -> tuple[Any, ...]:
    """The types that a value may have, those of a union one by one, without None.

    >>> options(float | None)
    (<class 'float'>,)
    """
    origin = get_origin(annotation)
    if origin is Annotated:
        return options(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return tuple(option for part in get_args(annotation) for option in options(part))
    return () if annotation is NoneType else (annotation,)


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a value of this type is, if it may be one."""
    found = [o for o in options(annotation) if isinstance(o, type) and issubclass(o, BaseModel)]
    return found[0] if found else None


def item_of(annotation: Any) -> Any:
    """The type of the values in a list or mapping of this type, or None if it is neither."""
    for option in options(annotation):
        arguments = get_args(option)
        if get_origin(option) in _LISTS and arguments:
            return arguments[0]
        if get_origin(option) is dict:
            return arguments[1]
    return None


def is_list(annotation: Any) -> bool:
    """Whether values of this type are lists."""
    return any(get_origin(option) in _LISTS for option in options(annotation))


def at(root: type[BaseModel], path: Path) -> Any:
    """The type at a path, or None where the settings have nothing of that name.

    >>> from config.settings import Settings
    >>> at(Settings, ("bars", "max_fill")), at(Settings, ("bars", "tiem"))
    (<class 'int'>, None)
    """
    annotation: Any = root
    for name in path:
        section = section_of(annotation)
        if section is not None:
            field = section.model_fields.get(str(name))
            annotation = field.annotation if field else None
        else:
            annotation = item_of(annotation)
        if annotation is None:
            return None
    return annotation


def is_secret(annotation: Any) -> bool:
    """Whether values of this type are never shown, whatever they came from.

    >>> is_secret(Secret | None), is_secret(str)
    (True, False)
    """
    return any(isinstance(option, type) and issubclass(option, SecretStr) for option in options(annotation))


def paths(root: type[BaseModel]) -> Iterator[str]:
    """The dotted paths of all sections and settings, as far as their names are fixed."""
    for name, field in root.model_fields.items():
        yield name
        section = section_of(field.annotation)
        if section is not None:
            yield from (dotted((name, inner)) for inner in paths(section))


def is_kept_back(root: type[BaseModel], path: Path) -> bool:
    """Whether a setting, or what it stands in, is never shown, whatever its name (a field that is not part of `repr`).

    >>> from config.settings import Settings
    >>> is_kept_back(Settings, ("kafka", "options", "sasl.username")), is_kept_back(Settings, ("kafka", "servers"))
    (True, False)
    """
    for place, name in enumerate(path):
        section = section_of(at(root, path[:place]))
        field = section.model_fields.get(str(name)) if section is not None else None
        if field is not None and not field.repr:
            return True
    return False
