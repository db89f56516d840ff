"""`tidewax config`: check, show and schema; and the page of settings."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from config import Settings, load, profile_names
from config.reference import reference
from config.schema import schema
from events.errors import SettingsError, TidewaxError
from flows.config_command import config_app

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, **environ: str):
    return CliRunner().invoke(config_app, list(arguments), env=environ)


@pytest.mark.parametrize("name", [*profile_names(), None])
def test_check_of_shipped_settings(name):
    result = run("check", *([name] if name else []))
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert lines[0] == f"ok: analysis_hash {load(name).analysis_hash}"
    assert lines[1].startswith("preset: price6 (auto): ")
    assert re.fullmatch(
        r"warm-up: every indicator has a value after \d+ bars, and is settled after \d+ to \d+", lines[2]
    )
    assert [line.split(":")[0].strip() for line in lines[3:]] == [*load(name).bars.time, "regime", "stops"]
    assert re.fullmatch(rf"regime: of {load(name).signals.tf}, known after 143 bars \(.+\); before that .+", lines[-2])
    assert lines[-1] == f"stops: of {load(name).signals.tf}, of ATR, and of the newest swing where that is nearer"


def test_the_preset_in_force_is_that_of_the_streams_of_a_live_run(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text(
        "exchange:\n  symbols: {binance: [BTC/USDT, 'BTC/USDT:USDT']}\n  feeds: [trades, book, funding]\n  reconcile: 0\n"
    )
    each = "price6 of binance:BTC/USDT, full9 of binance:BTC/USDT:USDT (auto)"
    assert run("show", str(file)).stdout.splitlines()[0].endswith(f", preset {each}")
    lines = run("check", str(file)).stdout.splitlines()
    assert lines[1].startswith(f"preset: {each}: order_flow 0.18, liquidity 0.14, sentiment 0.1, ")
    file.write_text("confluence: {preset: {'binance:BTC/USDT': core6}}\n")
    assert ", preset core6 of binance:BTC/USDT" in run("show", str(file)).stdout.splitlines()[0]


def test_check_names_all_problems(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text(
        "bars:\n  tiem: 1\nsignals: {tf: 1h}\nindicators:\n  talib:\n    - fn: RSIX\n    - {fn: RSI, period: 3}\nrun: {chunk: 0}\n"
    )
    result = run("check", str(file), TIDEWAX__RUN__WORKERS="0")
    found = [line.replace(str(file), "my.yaml").split(": ")[:2] for line in result.stdout.splitlines()]
    assert result.exit_code == 1
    assert found == [
        ["my.yaml:2", "bars.tiem"],
        ["my.yaml:3", "signals.tf"],
        ["my.yaml:6", "indicators.talib.0.fn"],
        ["my.yaml:7", "indicators.talib.1"],
        ["my.yaml:8", "run.chunk"],
        ["environment TIDEWAX__RUN__WORKERS", "run.workers"],
        ["my.yaml", "6 wrong settings"],
    ]
    assert "RSIX" in result.stdout
    assert "did you mean RSI?" in result.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "run: {}\nindicators:\n  talib: [{fn: RSI}, {fn: RSI}]\n",
            ":2: indicators: two indicators make a column 'rsi'",
        ),
        (
            "dimensions:\n  disabled: [structure, technical, volume, order_flow]",
            ":2: dimensions.disabled: no",
        ),
    ],
)
def test_check_asks_the_graph_too(tmp_path, text, said):
    file = tmp_path / "my.yaml"
    file.write_text(text)
    result = run("check", str(file))
    assert result.exit_code == 1
    assert f"{file}{said}" in result.stdout


def test_check_and_show_of_no_file():
    for command in ("check", "show"):
        result = run(command, "nix")
        assert result.exit_code == 1
        assert isinstance(result.exception, SettingsError)


def test_show(tmp_path):
    result = run("show", "short", TIDEWAX__ALERTS__MY_KEY="hunter2", TIDEWAX__RUN__CHUNK="7")
    assert result.exit_code == 0
    assert result.stdout.startswith("# analysis_hash ")
    assert "  time: [1m, 5m]  # profile short:3\n" in result.stdout
    assert "  chunk: 7  # environment TIDEWAX__RUN__CHUNK\n" in result.stdout
    assert "  my_key: '${TIDEWAX__ALERTS__MY_KEY}'  #" in result.stdout
    assert "hunter" not in result.stdout
    assert "  max_fill: 60\n" in result.stdout


def test_show_of_wrong_settings_names_them():
    result = run("show", TIDEWAX__RUN__CHUNK="0")
    assert result.exit_code == 1
    assert "environment TIDEWAX__RUN__CHUNK: run.chunk: must be at least 1, not 0" in str(result.exception)


def test_schema(tmp_path):
    result, file = run("schema"), tmp_path / "schema.json"
    assert json.loads(result.stdout) == schema()
    assert run("schema", "--out", str(file)).exit_code == 0
    assert json.loads(file.read_text()) == schema()
    assert isinstance(run("schema", "--out", str(tmp_path / "no" / "x")).exception, TidewaxError)


def test_the_schema_knows_sections_types_and_references():
    made = schema()
    assert list(made["properties"]) == list(Settings.model_fields)
    assert made["additionalProperties"] is False
    fill = made["$defs"]["Bars"]["properties"]["max_fill"]
    assert fill["default"] == 60
    assert fill["anyOf"][0] == {"maximum": 1440, "minimum": 1, "type": "integer"}
    assert fill["anyOf"][1]["type"] == "string"
    for definition in made["$defs"].values():
        assert all("description" in setting or "$ref" in setting for setting in definition["properties"].values())


def test_the_page_of_settings_is_made_from_the_code():
    assert (ROOT / "docs" / "reference-settings.md").read_text("utf-8") == reference()


def test_every_setting_has_a_meaning():
    rows = [line.split(" | ") for line in reference().splitlines() if line.startswith("| `")]
    assert len(rows) > 30
    assert all(len(row) == 4 and row[3].removesuffix(" |").strip() for row in rows)
