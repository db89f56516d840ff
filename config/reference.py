"""The reference of settings as a page, made from the code: `python -m config.reference > docs/reference-settings.md`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from config.settings import Settings
from config.shape import is_list, item_of, options, section_of

_HEAD = """\
# Settings

Made from the code by `python -m config.reference > docs/reference-settings.md`; a test keeps it so.

A settings file is YAML: sections with settings in them; what it does not say has its default. `tidewax config check`
names everything that is wrong, `tidewax config show` prints what is in force and where it came from, `tidewax config
schema` gives editors a JSON schema.

What comes later wins: defaults, file or profile, environment, command line.

- In values, `${NAME}` is the environment variable NAME, which must be set; `${NAME:default}` has a default, which may be
  empty; `$${` is a literal `${`. A value is expanded once, then typed; in quotes it stays text, and inside `[...]` and
  `{...}` it needs the quotes.
- `TIDEWAX__SECTION__KEY=value` sets one setting, for example `TIDEWAX__BARS__MAX_FILL=30` or `TIDEWAX__BARS__TIME='[1m, 5m]'`:
  a scalar, or a list or mapping in brackets; references in it are not expanded.
- Secrets, and values from variables whose names contain KEY, SECRET, TOKEN or PASSWORD, are never shown.
"""
_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false"}
_BOUNDS = {"gt": "above {}", "ge": "at least {}", "lt": "below {}", "le": "at most {}"}


def reference(root: type[BaseModel] = Settings) -> str:
    """The page: a table of paths, types, defaults and meanings for each section.

    >>> "| `bars.max_fill` | whole number, at least 1, at most 1440 | `60` |" in reference()
    True
    """
    return "\n".join([_HEAD, *_sections(root)])


def _sections(root: type[BaseModel]) -> Iterator[str]:
    for name, field in root.model_fields.items():
        section = section_of(field.annotation) or section_of(item_of(field.annotation))
        about = (section.__doc__ if section else field.description) or ""
        yield f"## {name}\n\n{' '.join(about.split())}\n"
        yield "| setting | type | default | meaning |\n|---|---|---|---|"
        yield from _row(name, field)
        yield ""


def _row(path: str, field: FieldInfo) -> Iterator[str]:
    section, item = section_of(field.annotation), item_of(field.annotation)
    if section is None:
        default = "required" if field.is_required() else f"`{_plain(field.get_default(call_default_factory=True))}`"
        yield f"| `{path}` | {_type(field)} | {default} | {field.description or ''} |"
        if item is not None:
            section, path = section_of(item), f"{path}.{'N' if is_list(field.annotation) else 'NAME'}"
    if section is not None:
        for name, inner in section.model_fields.items():
            yield from _row(f"{path}.{name}", inner)


def _type(field: FieldInfo) -> str:
    bounds = [
        form.format(f"{value:g}")
        for rule in field.metadata
        for name, form in _BOUNDS.items()
        if (value := getattr(rule, name, None)) is not None
    ]
    return ", ".join([_name(field.annotation), *bounds])


def _name(annotation: Any) -> str:
    found = []
    for option in options(annotation):
        if get_origin(option) is Literal:
            found += [f"`{choice}`" for choice in get_args(option)]
        elif item_of(option) is not None:
            item = item_of(option)
            inner = "sections" if section_of(item) else _name(item)
            found.append(f"list of {inner}" if is_list(option) else f"mapping of names to {inner}")
        else:
            found.append(_NAMES.get(option, "secret text"))
    return ", ".join(found[:-1]) + " or " * (len(found) > 1) + found[-1]


def _plain(value: Any) -> str:
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_plain, value))}]"
    text = yaml.safe_dump(value, default_flow_style=True, width=2**30, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...").strip()


if __name__ == "__main__":
    print(reference(), end="")
