"""References to the environment: the vectors, typing after expansion, and what cannot be expanded."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.document import read_document
from config.grammar import escaped, expand, is_secret_name

B = {"B": "7", "EMPTY": "", "LIST": "[1m]", "REF": "${B}", "NO": "no"}


def read(text: str):
    return read_document(text, "my.yaml", B)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("${B}", "7"),
        ("${A:}", ""),
        ("${A:redis://h:6379/0}", "redis://h:6379/0"),
        ("x${B}y", "x7y"),
        ("$${B}", "${B}"),
        ("${B:8}", "7"),
        ("${EMPTY:8}", ""),
        ("${A:$B}", "$B"),
        ("${A:${B}}", "${B}"),
        ("${REF}", "${B}"),
        ("$${${B}}", "${7}"),
        ("$B $ {B} {B}", "$B $ {B} {B}"),
        ("${B}${B}", "77"),
    ],
)
def test_vectors(form, text):
    assert expand(form, B).text == text
    assert expand(form, B).problems == ()


@pytest.mark.parametrize(
    ("form", "said"),
    [("${A}", "variable A is not set"), ("${1A}", "begins no reference"), ("${", "begins no"), ("${}", "begins no")],
)
def test_what_is_no_reference_is_an_error(form, said):
    (problem,) = expand(form, B).problems
    assert said in problem


@given(st.text(alphabet="${}:AB x", max_size=20))
def test_escaped_text_comes_back(text):
    assert expand(escaped(text), {}).text == text


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("${B}", 7),
        ("'${B}'", "7"),
        ('"${B}"', "7"),
        ("x${B}", "x7"),
        ("${B}.5", 7.5),
        ("!!str ${B}", "7"),
        ("!!float ${B}", 7.0),
        ("${A:}", None),
        ("'${A:}'", ""),
        ("${EMPTY}", None),
        ("${NO}", False),
        ("${A:true}", True),
        ("${A:null}", None),
        ("${A:2024-01-02}", datetime.date(2024, 1, 2)),
        ("${LIST}", "[1m]"),
        ("$${B}", "${B}"),
        ("['${B}', a]", ["7", "a"]),
        ("|\n  ${B}\n", "7\n"),
    ],
)
def test_values_are_typed_after_expansion(scalar, value):
    document = read(f"a: {scalar}")
    assert document.problems == []
    assert document.data == {"a": value}
    assert type(document.data["a"]) is type(value)


def test_missing_names_are_all_named():
    document = read("a: ${A} ${C}\nb:\n  - ok\n  - ${D}\n")
    assert [str(problem).partition(" is not set")[0] for problem in document.problems] == [
        "my.yaml:1: a: the environment variable A",
        "my.yaml:1: a: the environment variable C",
        "my.yaml:4: b.1: the environment variable D",
    ]


def test_merged_and_aliased_mappings_keep_their_lines():
    document = read("base: &b\n  x: 1\n  y: ${B}\na:\n  <<: *b\n  x: 2\nc: *b\n")
    assert document.data["a"] == {"x": 2, "y": 7}
    assert document.data["c"] == {"x": 1, "y": 7}
    assert [document.origins[path].line for path in (("a", "x"), ("a", "y"), ("c", "x"))] == [6, 3, 2]


def test_secret_names():
    assert all(map(is_secret_name, ("API_KEY", "my_secret", "TELEGRAM_TOKEN", "PASSWORD")))
    assert not is_secret_name("BINANCE_URL")
