"""`tidewax laws`: what keeps the laws passes, what breaks one is named with its column and bar."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from events.errors import SettingsError
from events.times import MINUTE_NS
from flows.__main__ import app
from flows.laws import judge
from flows.laws_markets import bars_of, markets

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "tests" / "plugins"
EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """The bar 1,000 of the first market is the one that some plugins cannot bear."""
    bars = bars_of(markets(1_500)["a walk"], (("1m", MINUTE_NS),))["bars.1m"]
    price = float(bars["close"][1_000])
    assert (bars["close"] == price).sum() == 1
    file = tmp_path_factory.mktemp("laws") / "settings.yaml"
    file.write_text(
        f"plugins: {{files: [{PLUGINS / 'faulty.py'}], parameters: "
        f"{{raises_on_a_price: {{price: {price}}}, gives_infinity: {{price: {price}}}}}}}\n"
    )
    return str(file)


@pytest.fixture(scope="module")
def found(settings):
    return {judged.name: judged for judged in judge(PLUGINS / "faulty.py", settings)}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("peeks_one_bar_ahead", "looks ahead: its value at bar 0 of 'a walk'"),
        ("knows_the_highest", "looks ahead: its value at bar"),
        ("follows_the_peek", "not judged: it needs what peeks_one_bar_ahead makes"),
        ("raises_on_a_price", "fails at bar 1000 of 'a walk' (2023-11-14T23:54:00Z): ArithmeticError: a price it cannot bear"),
        ("raises_on_few_bars", "it raises when it gets the first 1 bars only (IndexError: ten bars, please): give NaN there"),
        ("wrong_length", "fails at bar 0 of 'a walk' (2023-11-14T07:14:00Z): ValueError: 1 column(s) of 1 values are expected"),
        ("wrong_shape", "an array of one dimension is expected"),
        ("gives_infinity", "fails at bar 1000 of 'a walk' (2023-11-14T23:54:00Z): it gave an infinite value (1 bars in all)"),
        ("gives_infinity_when_flat", "it gave an infinite value"),
        ("changes_its_input", "read-only; it must not change its inputs"),
        ("never_forgets", "column never_forgets remembers more than it declares: of 1 bars (stable) and of 128 bars"),
        ("forgets_too_slowly", "column forgets_too_slowly remembers more than it declares: of 20 bars"),
        ("begins_late", "of 128 bars up to it, and none of 1 (stable): raise lookback"),
        ("never_has_a_value", "has no value in 7,075 bars"),
        ("steps_elsewhere", "column steps_elsewhere: its steps give 0.999"),
        ("is_another_each_time", "depends on how the bars arrive|is not repeatable|looks ahead"),
        ("compares_rows", "it is not row-wise: at bar"),
        ("leaves_the_range", "a direction lies in [-1, 1]"),
        ("looks_around", "it is not row-wise: at bar"),
        ("has_two_levels", "it gave 2, a direction is 1, -1 or 0"),
        ("wants_a_value", "it fails at bar 0 of 'a walk'"),
    ],
)  # fmt: skip
def test_a_broken_law_is_named_with_its_bar(found, name, said):
    faults = "; ".join(found[name].faults)
    assert any(part in faults for part in said.split("|")), faults


def test_every_faulty_plugin_is_refused(found):
    assert len(found) == 21
    assert all(judged.faults for judged in found.values())


@pytest.mark.parametrize(
    ("file", "config"),
    [
        (EXAMPLES / "momentum.py", None),
        (EXAMPLES / "momentum_score.py", EXAMPLES / "settings.yaml"),
        (EXAMPLES / "breakout_rule.py", EXAMPLES / "settings.yaml"),
        pytest.param(EXAMPLES / "path_signature.py", None, marks=pytest.mark.slow),
    ],
    ids=lambda item: getattr(item, "stem", ""),
)
def test_the_examples_keep_all_laws(file, config):
    done = CliRunner().invoke(app, ["laws", str(file), *(["--config", str(config)] if config else [])])
    assert done.exit_code == 0, done.stdout
    assert done.stdout.rstrip().endswith(f"{file}: all laws hold")
    assert "settled" in done.stdout or "up" in done.stdout


@pytest.mark.slow
def test_compiled_recursive_silent_and_composed_plugins_keep_all_laws(tmp_path):
    config = tmp_path / "settings.yaml"
    config.write_text("plugins: {parameters: {smooth: {percent: 20}}}\n")
    found = {judged.name: judged for judged in judge(PLUGINS / "fine.py", str(config))}
    assert {name: judged.faults for name, judged in found.items()} == {name: [] for name in found}
    assert set(found) == {"smooth", "above", "change", "highest", "side", "change_score", "careful"}
    assert found["careful"].seen["LONG"] > 20
    assert found["smooth"].seen["warming"] > 0


def test_exit_code_one_and_a_sentence(tmp_path):
    file = tmp_path / "plugin.py"
    file.write_text("from tidewax import indicator\n@indicator\ndef short(close):\n    return close[1:]\n")
    done = CliRunner().invoke(app, ["laws", str(file)], env={"COLUMNS": "200"})
    assert done.exit_code == 1
    assert "refused: short: column short fails at bar 0 of 'a walk'" in done.stdout
    assert done.stdout.rstrip().endswith("refused")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", "declares nothing"),
        ("import nosuchmodule\n", "plugin.py, line 1: ModuleNotFoundError"),
        (
            "from tidewax import indicator\n@indicator\ndef a(b):\n    return b\n",
            "a needs the column 'b', which no indicator makes",
        ),
    ],
)
def test_a_file_that_cannot_be_judged_says_why(tmp_path, text, said):
    file = tmp_path / "plugin.py"
    file.write_text(text)
    with pytest.raises(SettingsError, match=r"plugins\.files\.0") as error:
        judge(file)
    assert said in str(error.value)
