"""References to the environment in settings: `${NAME}`, `${NAME:default}`, and `$${` for a literal `${`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_FORM = re.compile(r"(?P<escape>\$\$\{)|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:[^}]*)?\}|(?P<broken>\$\{)")
_SECRET = re.compile("KEY|SECRET|TOKEN|PASSWORD", re.IGNORECASE)


@dataclass(frozen=True)
class Expanded:
    """A scalar after expansion.

    Attributes:
        text: what it became; missing names are left out.
        names: the variables it refers to, in order.
        problems: what was wrong.
        template: the scalar as written, without the defaults: what may be shown where the text must not.
    """

    text: str
    names: tuple[str, ...]
    problems: tuple[str, ...]
    template: str


def is_secret_name(name: str) -> bool:
    """Whether the values of a variable of this name are never shown.

    >>> is_secret_name("BINANCE_API_KEY"), is_secret_name("BINANCE_URL")
    (True, False)
    """
    return _SECRET.search(name) is not None


def expand(text: str, environ: Mapping[str, str]) -> Expanded:
    """The text with its references replaced, once: what a variable or a default holds is not looked at again.

    >>> [expand(form, {"B": "7"}).text for form in ("x${B}y", "${A:redis://h:6379/0}", "${A:}", "$${B}")]
    ['x7y', 'redis://h:6379/0', '', '${B}']
    >>> expand("${A}", {}).problems
    ('the environment variable A is not set; set it, or give a default: ${A:...}',)
    """
    names: list[str] = []
    problems: list[str] = []

    def value(match: re.Match[str]) -> str:
        if match["escape"]:
            return "${"
        if match["broken"]:
            problems.append("${ begins no reference: write ${NAME} or ${NAME:default}, or $${ for the characters ${")
            return ""
        name, default = match["name"], match["default"]
        names.append(name)
        if name in environ:
            return environ[name]
        if default is None:
            problems.append(f"the environment variable {name} is not set; set it, or give a default: ${{{name}:...}}")
            return ""
        return default[1:]

    def bare(match: re.Match[str]) -> str:
        return f"${{{match['name']}}}" if match["name"] else match[0]

    return Expanded(_FORM.sub(value, text), tuple(names), tuple(dict.fromkeys(problems)), _FORM.sub(bare, text))


def escaped(text: str) -> str:
    """The text such that expansion gives it back.

    >>> expand(escaped("${B} costs $5"), {}).text
    '${B} costs $5'
    """
    return text.replace("${", "$${")
