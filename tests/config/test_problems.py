"""Every kind of mistake with its line, all at once, and no secret among them."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from config import Secret, Settings, resolve
from config.document import read_document
from config.problems import Origin
from config.section import Section
from config.shape import paths
from config.sources import apply_environment
from config.validation import Validation
from events.errors import SettingsError

ENVIRON = {"MY_TOKEN": "hunter'2", "B": "7"}

NAMES = {name for path in paths(Settings) for name in path.split(".")} | {"1m", "5m", "fn", "tick", "x"}


def problems(tmp_path, text, overrides=None, environ=ENVIRON):
    file = tmp_path / "my.yaml"
    file.write_text(text)
    return [str(p).replace(str(file), "my.yaml") for p in resolve(str(file), overrides, environ).problems]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("run:\n  chunk: 1\nbars:\n  tiem: [1m]", "4: bars.tiem: unknown setting; did you mean time?"),
        ("\nbras: {}", "2: bras: unknown setting; did you mean bars?"),
        ("\nmax_fill: 7", "2: max_fill: unknown setting; did you mean bars.max_fill?"),
        ("weather: {}", "1: weather: unknown setting"),
        (
            "confluence:\n  gates:\n    coverge: 1",
            "3: confluence.gates.coverge: unknown setting; did you mean coverage?",
        ),
        (
            "input:\n\n  bad_rows: refuze",
            "3: input.bad_rows: must be 'refuse' or 'dead-letter', not 'refuze'; did you mean refuse?",
        ),
        ("confluence:\n  theta: low", "2: confluence.theta: must be 'auto' or 'prior' or a number, not 'low'"),
        (
            "signals:\n  tf: 5m\n  calibration: nowhere.json",
            "3: signals.calibration: the reliability table nowhere.json cannot be read: No such file or directory",
        ),
        (
            "confluence:\n  regime_tf: 2h",
            "2: confluence.regime_tf: is 2h, which is not among bars.time",
        ),
        ("run:\n  chunk: 1.5", "2: run.chunk: must be a whole number, not 1.5"),
        ("run:\n  chunk:\n", "2: run.chunk: must be a whole number, not empty"),
        ("run:\n  chunk: [1]", "2: run.chunk: must be a whole number, not a list"),
        ("run:\n  workers: 65", "2: run.workers: must be at most 64, not 65"),
        ("outcomes:\n  fee_bps: .inf", "2: outcomes.fee_bps: must be a finite number, not inf"),
        ("signals:\n  risk: 0", "2: signals.risk: must be greater than 0, not 0"),
        ("alerts:\n  a: 1", "2: alerts.a: must be text (in quotes, if it would read as something else), not 1"),
        ("input:\n  files: a.csv", "2: input.files: must be a list, not 'a.csv'"),
        ("confluence:\n  blend: [1m]", "2: confluence.blend: must be a mapping of names to settings, not a list"),
        (
            "confluence:\n  gates:\n    require_settled: si",
            "3: confluence.gates.require_settled: must be true or false, not 'si'",
        ),
        ("indicators:\n  talib:\n  - {fn: RSI}\n  - {}", "4: indicators.talib.1.fn: is missing"),
        ("instruments:\n  x:\n    tick: 0", "3: instruments.x.tick: must be greater than 0, not 0"),
        ("bars:\n", "1: bars: must be a section with settings in it, not empty"),
        ("bars:\n  time:\n  - 1m\n  - 7q", "4: bars.time.1: '7q' is not a timeframe"),
        ("bars:\n  time: [1m, 30m, 5m]", "2: bars.time: timeframes must be in rising order, none twice"),
        ("dimensions:\n  disabled:\n  - tecnical", "3: dimensions.disabled.0: there is no dimension 'tecnical'"),
        ("run:\n  chunk: 1\n  workers: 1\n  chunk: 2", "4: run.chunk: is given twice, first in line 2"),
        ("run: {}\nbars: {}\nrun: {}", "3: run: is given twice, first in line 1"),
        ("run:\n  chunk: !!int x", "2: run.chunk: cannot be read as int"),
        ("run:\n  chunk: !!int ''", "2: run.chunk: cannot be read as int"),
        ("run:\n  chunk: !!bool x", "2: run.chunk: cannot be read as bool"),
        ("run:\n  chunk: !!timestamp x", "2: run.chunk: cannot be read as timestamp"),
        ("run:\n  chunk: 2024-13-45", "2: run.chunk: cannot be read as timestamp"),
        ("run:\n  chunk: !mine x", "2: run.chunk: could not determine a constructor"),
        ("run:\n  ? [a]\n  : 1", "2: run: a name must be text"),
        ("alerts:\n  x${B}: a", "2: alerts.x${B}: ${...} is for values, not for names"),
        ("run:\n  <<: 5", "2: run: << merges other mappings only"),
        ("alerts: &a\n  x: *a", "2: alerts.x: an anchor that stands in itself"),
        ("run: &a\n  <<: *a", "1: run: << merges other mappings only"),
        ("run:\n  chunk: ${A}", "2: run.chunk: the environment variable A is not set"),
        ("run:\n  chunk: 1\n bars: 2", "3: not valid YAML: "),
        ("run:\n  chunk: 1\n\tworkers: 2", "3: not valid YAML: "),
        ("run:\n  chunk: [", "2: not valid YAML: "),
        ("run:\n  chunk: \x07", "2: not valid YAML: the character U+0007 is not allowed"),
        ("run:\n  chunk: *b", "2: not valid YAML: found undefined alias 'b'"),
        ("run:\n  {chunk: ${B}}", "2: not valid YAML: while parsing a flow mapping"),
        ("a: 1\n---\nb: 1", "2: not valid YAML: expected a single document"),
        ("- a", "1: must hold sections such as `bars:`, not a list"),
        ("\nsignals:\n  tf: 1h", "3: signals.tf: is 1h, which is not among bars.time"),
        ("confluence:\n  blend: {1m: 1}\nbars:\n  time: [1m]", "4: signals.tf: is 30m, which is not among"),
        ("run: {}\nconfluence:\n  blend: {1m: 0.5, 2h: 0.5}", "3: confluence.blend: names 2h"),
    ],
)
def test_a_mistake_has_its_line(tmp_path, text, said):
    (problem,) = problems(tmp_path, text)
    assert problem.startswith(f"my.yaml:{said}")


def test_references_in_flow_collections_get_a_hint(tmp_path):
    assert problems(tmp_path, "run: {chunk: ${B}}")[0].endswith("inside [...] and {...} put quotes around ${...}")


def test_mistakes_of_all_kinds_are_named_at_once(tmp_path):
    text = "signals:\n  tf: 1h\n  risk: ${A}\nrun:\n  chunk: 0\n  chunk: 1\nconfluence:\n  blend: {2h: 0.5, 3h: 0.5}\n  x: 1\n"
    found = problems(tmp_path, text, {"run": {"worker": 1}}, {"TIDEWAX__RUN__CHONK": "1"})
    assert [line.partition(": ")[0] + " " + line.split(": ")[1] for line in found] == [
        "my.yaml:2 signals.tf",
        "my.yaml:3 signals.risk",
        "my.yaml:5 run.chunk",
        "my.yaml:6 run.chunk",
        "my.yaml:8 confluence.blend",
        "my.yaml:8 confluence.blend",
        "my.yaml:9 confluence.x",
        "arguments run.worker",
        "environment TIDEWAX__RUN__CHONK run.chonk",
    ]


def test_cross_checks_of_wrong_settings_are_left_out(tmp_path):
    (problem,) = problems(tmp_path, "bars: {time: [1m, 7m]}\nsignals: {tf: 7m}")
    assert problem.startswith("my.yaml:1: bars.time.1: timeframe '7m' neither divides a day nor is a multiple of one")
    assert len(problems(tmp_path, "bars: {time: ['${A}']}\nsignals: {tf: 7m}")) == 1


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(
        SettingsError, match=r"no settings file nix, nor a profile of that name \(profiles: default, short\)"
    ):
        resolve("nix")
    with pytest.raises(SettingsError, match="cannot be read"):
        resolve(str(tmp_path))
    (tmp_path / "latin").write_bytes(b"\xe9")
    with pytest.raises(SettingsError, match="cannot be read"):
        resolve(str(tmp_path / "latin"))


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "---\n"])
def test_an_empty_file_is_the_defaults(tmp_path, text):
    assert problems(tmp_path, text) == []


@pytest.mark.parametrize(
    "text",
    [
        "run:\n  chunk: ${MY_TOKEN}",
        "input:\n  bad_rows: ${MY_TOKEN}",
        "bars:\n  time: [1m, '${MY_TOKEN}']",
        "signals:\n  tf: ${MY_TOKEN}",
        "run:\n  chunk: !!int ${MY_TOKEN}",
        "dimensions:\n  disabled:\n  - ${MY_TOKEN}",
    ],
)
def test_problems_do_not_tell_secrets(tmp_path, text):
    (problem,) = problems(tmp_path, text)
    assert "hunter" not in problem


@pytest.mark.parametrize(
    "options", ["hunter2", "[hunter2]", "{sasl.password: [hunter2]}", "{sasl.password: {x: hunter2}}"]
)
def test_problems_do_not_tell_options_of_kafka(tmp_path, options):
    (problem,) = problems(tmp_path, f"kafka:\n  options: {options}")
    assert "kafka.options" in problem
    assert "hunter" not in problem


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-2, 99)
        | st.sampled_from(["1m", "5m", "${B}", "${A}", "x", 0.5, "RSI"]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(NAMES)), inner, max_size=4),
        max_leaves=12,
    )
)
@settings(max_examples=150)
def test_whatever_stands_in_a_file_is_settings_or_problems(tree):
    document = read_document(yaml.safe_dump(tree), "my.yaml", {"B": "7"})
    apply_environment(document, Settings, {"TIDEWAX__RUN__CHUNK": "0"})
    checked = Validation(Settings, document, Origin("my.yaml"))
    found = [*document.problems, *checked.problems]
    assert found
    assert all("\n" not in str(problem) and str(problem).startswith(("my.yaml:", "environment ")) for problem in found)


class Account(Section):
    password: Secret
    retries: int = 1


class Tree(Section):
    account: Account | None = None


def test_secret_settings_stay_out_of_problems():
    def validated(text: str) -> Validation[BaseModel]:
        return Validation(Tree, read_document(text, "my.yaml", {}), Origin("my.yaml"))

    (problem,) = validated("account:\n  password: 1234").problems
    assert str(problem) == "my.yaml:2: account.password: must be text (in quotes, if it would read as something else)"
    (problem,) = validated("account:\n  retries: 2").problems
    assert str(problem) == "my.yaml:1: account.password: is missing"
