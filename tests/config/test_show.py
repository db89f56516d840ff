"""Effective settings: they load to the same again, say where values came from, and tell no secrets."""

from __future__ import annotations

import pytest
import yaml
from pydantic import Field

from config import Secret, profile_names, resolve
from config.document import read_document
from config.problems import Origin
from config.section import Section
from config.show import show
from config.validation import Validation


class Account(Section):
    name: str = "me"
    url: str = ""
    password: Secret = Secret("")
    spare: Secret | None = None
    tags: tuple[str, ...] = ()
    retries: int = 1


class Tree(Section):
    account: Account = Account()
    more: dict[str, Account] = Field({})
    calls: tuple[Account, ...] = ()


ENVIRON = {"MY_TOKEN": "hunter2", "PLAIN": "hunter3", "B": "7", "N_KEYS": "3"}


def shown(text: str) -> str:
    document = read_document(text, "my.yaml", ENVIRON)
    checked = Validation(Tree, document, Origin("my.yaml"))
    assert checked.problems == []
    assert checked.settings is not None
    return show(checked.settings, document.origins)


@pytest.mark.parametrize("name", profile_names())
def test_what_is_shown_loads_to_the_same(tmp_path, name):
    overrides = {
        "alerts": {"a": "${B} # no", "7": "yes"},
        "instruments": {"x:B/U": {"tick": 1e-7}},
        "input": {"files": ["a, b"]},
    }
    first = resolve(name, overrides, {"TIDEWAX__SIGNALS__EQUITY": "1000"})
    file = tmp_path / "shown.yaml"
    file.write_text(show(first.settings, first.origins))
    assert resolve(str(file), None, {}).settings == first.settings


def test_values_say_where_they_came_from(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text("bars:\n  max_fill: ${B}\nrun:\n  chunk: 100_000\n  workers: 2\ninstruments:\n  x: {tick: 0.5}\n")
    environ = {"B": "30", "TIDEWAX__RUN__WORKERS": "3", "TIDEWAX__INDICATORS__TALIB": "[{fn: RSI, timeperiod: 7}]"}
    found = resolve(str(file), {"run": {"epoch_s": 1}}, environ)
    lines = [line.strip() for line in show(found.settings, found.origins).splitlines() if "#" in line]
    assert lines == [
        f"max_fill: 30  # {file}:2, ${{B}}",
        "- {fn: RSI, timeperiod: 7}  # environment TIDEWAX__INDICATORS__TALIB",
        f"tick: 0.5  # {file}:7",
        "epoch_s: 1.0  # arguments",
        "workers: 3  # environment TIDEWAX__RUN__WORKERS",
    ]


def test_defaults_have_no_comment():
    found = resolve(None, None, {})
    assert "#" not in show(found.settings, found.origins)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("account:\n  url: https://x/${MY_TOKEN}", "url: 'https://x/${MY_TOKEN}'  # my.yaml:2"),
        ("account:\n  url: ${MY_TOKEN:hunter4}", "url: '${MY_TOKEN}'  # my.yaml:2"),
        ("account:\n  url: ${MY_SECRET:hunter4}", "url: '${MY_SECRET}'  # my.yaml:2"),
        ("account:\n  password: ${PLAIN}", "password: '${PLAIN}'  # my.yaml:2, ${PLAIN}"),
        ("account:\n  password: hunter5", "password: '**********'  # my.yaml:2"),
        ("account:\n  spare: hunter5", "spare: '**********'  # my.yaml:2"),
        ("account:\n  retries: ${N_KEYS}", "retries: ${N_KEYS}  # my.yaml:2"),
        ("account:\n  tags: [a, '${MY_TOKEN}']", "tags: [a, '${MY_TOKEN}']  # my.yaml:2"),
        ("more:\n  a:\n    password: hunter5", "password: '**********'  # my.yaml:3"),
        ("calls:\n  - password: hunter5", "password: '**********'"),
        ("calls:\n  - password: ${PLAIN}", "password: '${PLAIN}'"),
    ],
)
def test_secrets_are_not_shown(text, line):
    out = shown(text)
    assert line in out
    assert "hunter" not in out
    yaml.safe_load(out)


def test_secret_overrides_are_not_shown():
    found = resolve(None, None, {"TIDEWAX__ALERTS__KEY": "hunter2", "TIDEWAX__ALERTS__B": "seen"})
    out = show(found.settings, found.origins)
    assert "key: '${TIDEWAX__ALERTS__KEY}'  # environment TIDEWAX__ALERTS__KEY" in out
    assert "b: seen" in out
    assert "hunter" not in out
