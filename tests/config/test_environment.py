"""Settings from variables: typed as YAML, over the file and under the arguments."""

from __future__ import annotations

import pytest

from config import load, resolve
from events.errors import SettingsError


def settings(environ, name=None, overrides=None):
    return resolve(name, overrides, environ).settings


def test_the_environment_wins_over_the_file_and_arguments_over_both(tmp_path, monkeypatch):
    file = tmp_path / "my.yaml"
    file.write_text("run: {chunk: 1, workers: 2, epoch_s: 3}\n")
    monkeypatch.setenv("TIDEWAX__RUN__CHUNK", "10")
    monkeypatch.setenv("TIDEWAX__RUN__WORKERS", "20")
    run = load(str(file), {"run": {"chunk": 100}}).run
    assert (run.chunk, run.workers, run.epoch_s) == (100, 20, 3.0)


def test_values_are_typed_as_yaml():
    found = settings(
        {
            "TIDEWAX__BARS__TIME": "[1m, 5m]",
            "TIDEWAX__CONFLUENCE__BLEND": "{1m: 0.5, 5m: 0.5}",
            "TIDEWAX__CONFLUENCE__GATES__REQUIRE_SETTLED": "yes",
            "TIDEWAX__SIGNALS__TF": "5m",
            "TIDEWAX__SIGNALS__EQUITY": "",
            "TIDEWAX__OUTPUT__DIRECTORY": "'7'",
            "TIDEWAX__ALERTS__A": "'${B}'",
        }
    )
    assert found.bars.time == ("1m", "5m")
    assert found.confluence.blend == {"1m": 0.5, "5m": 0.5}
    assert found.confluence.gates.require_settled
    assert found.signals.equity is None
    assert found.output.directory == "7"
    assert found.alerts == {"a": "${B}"}


def test_paths_are_case_insensitive_and_find_names_of_the_file(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text("instruments:\n  binance:BTC/USDT: {tick: 0.01, lot: 0.1}\n")
    found = settings({"Tidewax__Instruments__BINANCE:btc/usdt__TICK": "0.5"}, str(file))
    assert found.instruments["binance:BTC/USDT"].model_dump() == {"tick": 0.5, "lot": 0.1}


def test_a_section_is_merged_and_a_mapping_replaced(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text("run: {chunk: 1}\nalerts: {a: x}\nconfluence:\n  gates: {coverage: 0.5}\n")
    environ = {
        "TIDEWAX__RUN": "{workers: 2}",
        "TIDEWAX__ALERTS": "{b: y}",
        "TIDEWAX__CONFLUENCE": "{gates: {agreement: 0.1}}",
    }
    found = settings(environ, str(file))
    assert (found.run.chunk, found.run.workers) == (1, 2)
    assert found.alerts == {"b": "y"}
    assert (found.confluence.gates.coverage, found.confluence.gates.agreement) == (0.5, 0.1)


def test_variables_with_one_underscore_are_no_settings():
    names = ("TIDEWAX_CONFIG", "TIDEWAX_DATA", "TIDEWAX_DEBUG", "TIDEWAX_SOAK", "TIDEWAX_")
    assert settings(dict.fromkeys(names, "x")) == settings({})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("BARS__TIEM", "1", "bars.tiem: unknown setting; did you mean time?"),
        ("BRAS__TIME", "1", "bras.time: unknown setting; did you mean bars?"),
        ("BARS__MAX_FILL__X", "1", "bars.max_fill.x: unknown setting"),
        ("", "1", ": unknown setting"),
        ("BARS__MAX_FILL", "0", "bars.max_fill: must be at least 1, not 0"),
        ("BARS__MAX_FILL", "[", "bars.max_fill: not valid YAML: "),
        ("BARS__MAX_FILL", "a: 1", "bars.max_fill: must be a scalar, or a collection written as"),
        ("ALERTS", "{a: 1, a: 2}", "alerts.a: is given twice"),
        ("BARS", "7", "bars: must be a section with settings in it, not 7"),
        ("INDICATORS__TALIB__0__FN", "RSI", "indicators.talib.0.fn: a list is set as a whole"),
        ("SIGNALS__TF", "1h", "signals.tf: is 1h, which is not among bars.time"),
    ],
)
def test_a_wrong_variable_is_named(name, value, said):
    with pytest.raises(SettingsError) as error:
        settings({f"TIDEWAX__{name}": value})
    line = str(error.value).splitlines()[1]
    assert line.startswith(f"environment TIDEWAX__{name}: {said}")


def test_two_variables_for_one_setting_are_a_mistake():
    (problem,) = resolve(None, None, {"TIDEWAX__RUN__CHUNK": "1", "tidewax__run__chunk": "2"}).problems
    assert str(problem) == "environment tidewax__run__chunk: run.chunk: is set by TIDEWAX__RUN__CHUNK too"


def test_an_override_does_not_hide_a_section_of_the_wrong_kind(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text("run: 5\n")
    (problem,) = resolve(str(file), {"run": {"chunk": 1}}, {"TIDEWAX__RUN__WORKERS": "2"}).problems
    assert str(problem) == f"{file}:1: run: must be a section with settings in it, not 5"
