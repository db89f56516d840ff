"""Plugins in a run: settings that are wrong are named, what fails is contained, and any way of running gives the same rows."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest
from commands import called, kill_again_and_again, rows_written
from typer.testing import CliRunner

from config import load
from connectors.files import open_inputs
from connectors.simulator import Market, write_trades
from events.errors import RunError, SettingsError
from events.times import DAY_NS
from flows.backtest import Backtest
from flows.config_command import config_app
from flows.explain import explain
from flows.plan import Plan
from flows.rundir import RunDirectory
from flows.verify import verify

ROOT = Path(__file__).resolve().parents[2]
FAULTY = ROOT / "tests" / "plugins" / "faulty.py"
EXAMPLES = ROOT / "examples" / "settings.yaml"
BTC, ETH = "synthetic:BTC/USDT", "synthetic:ETH/USDT"
SHORT = "bars: {time: [1m, 5m]}\nconfluence: {theta: 10.0, blend: {1m: 0.7, 5m: 0.3}}\nsignals: {tf: 1m}\n"
TOO_FAR = (ROOT / "tests" / "plugins" / "too_far.py").read_text()
MOMENTUM = "from tidewax import indicator\n@indicator\ndef momentum(close):\n    return close * 1.0\n"


@pytest.fixture(scope="module")
def trades(tmp_path_factory):
    file = tmp_path_factory.mktemp("trades") / "trades.parquet"
    markets = (Market(seed=5, trades_per_minute=4.0), Market(ETH, 3_000.0, seed=6, trades_per_minute=4.0))
    write_trades(file, markets, 19_675 * DAY_NS, 1.0)
    return file


def backtest(file: Path, out: Path, config: Path, chunk: int = 100_000) -> dict:
    with RunDirectory(out) as directory:
        return Backtest(load(str(config), {"run": {"chunk": chunk}}), open_inputs([file]), directory).run()


def written(folder: Path, text: str, name: str = "settings.yaml") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def check(file: Path) -> list[str]:
    return CliRunner().invoke(config_app, ["check", str(file)]).stdout.replace(f"{file.parent}/", "").splitlines()


@pytest.fixture(scope="module")
def plain(trades, tmp_path_factory):
    """A run without plugins."""
    folder = tmp_path_factory.mktemp("plain")
    return folder / "run", backtest(trades, folder / "run", written(folder, SHORT))


def test_every_wrong_setting_of_plugins_is_named_with_its_line(tmp_path):
    written(tmp_path, "def f(close):\n    return close\n", "nothing.py")
    written(tmp_path, "import os\nraise KeyError('no')\n", "raises.py")
    written(tmp_path, "def f(:\n", "syntax.py")
    text = (
        "plugins:\n  files:\n    - nothing.py\n    - raises.py\n    - syntax.py\n    - missing.py\n"
        "  parameters:\n    momentum: {length: 3}\nbars:\n  max_fill: 0\n"
    )
    assert check(written(tmp_path, text)) == [
        "settings.yaml:3: plugins.files.0: nothing.py declares nothing: put @indicator, @score(...) or @rule(...) above a function",
        "settings.yaml:4: plugins.files.1: raises.py, line 2: KeyError: 'no'",
        "settings.yaml:5: plugins.files.2: syntax.py, line 1: SyntaxError: invalid syntax",
        "settings.yaml:6: plugins.files.3: the plugin missing.py cannot be read: No such file or directory",
        "settings.yaml:10: bars.max_fill: must be at least 1, not 0",
        "settings.yaml: 5 wrong settings",
    ]


def test_what_does_not_fit_together_is_named_with_its_line(tmp_path):
    declared = (
        "from tidewax import indicator, rule, score\n"
        "@indicator(columns=('rsi_14',))\ndef own_rsi(close, length=3):\n    return close\n"
        "@indicator\ndef lost(momentun):\n    return momentun\n"
        "@indicator(timeframes=('7m',))\ndef momentum(close):\n    return close\n"
        "@score(dimension='flow', weight=1.0)\ndef drift(momentum):\n    return momentum\n"
        "@rule(needs=('close', 'momentum@2h', 'scor'))\ndef entry(*x):\n    return x[0]\n"
    )
    written(tmp_path, declared, "a.py")
    written(tmp_path, MOMENTUM, "b.py")
    text = (
        "plugins:\n  files: [a.py,\n    b.py]\n  parameters:\n    own_rsi: {lenght: 5}\n    nobody: {x: 1}\n"
        "dimensions:\n  weights: {volum: 0.2}\nsignals:\n  rule: exit\n"
    )
    found = check(written(tmp_path, text))
    assert found == [
        "settings.yaml:2: plugins.files.0: drift votes in the dimension 'flow', which preset price6 does not have: give it a "
        "weight, dimensions.weights.flow",
        "settings.yaml:2: plugins.files.0: momentum: timeframe '7m' neither divides a day nor is a multiple of one, so "
        "its bars would not begin at 00:00 UTC",
        "settings.yaml:3: plugins.files.1: b.py declares 'momentum', which a.py does too",
        "settings.yaml:5: plugins.parameters.own_rsi: own_rsi has no parameter 'lenght'; it has length",
        "settings.yaml:6: plugins.parameters.nobody: no plugin declares 'nobody'; there are own_rsi, lost, momentum, drift, entry",
        f"settings.yaml: {len(found) - 1} wrong settings",
    ]
    text = "plugins: {files: [a.py]}\ndimensions:\n  weights: {volum: 0.2}\nsignals:\n  rule: exit\n"
    found = check(written(tmp_path, text))
    assert [line for line in found if "flow" not in line and "7m" not in line] == [
        "settings.yaml:1: plugins.files.0: own_rsi makes the column 'rsi_14', which exists already",
        "settings.yaml:1: plugins.files.0: lost needs the column 'momentun', which no indicator makes; did you mean "
        "momentum?",
        "settings.yaml:1: plugins.files.0: entry needs the column 'momentum@2h', which no indicator makes; did you mean "
        "momentum@4h?",
        "settings.yaml:1: plugins.files.0: entry needs the column 'scor', which no indicator makes; did you mean score?",
        "settings.yaml:3: dimensions.weights.volum: there is no dimension 'volum', nor does a plugin vote in it; did you mean "
        "volume?",
        "settings.yaml:5: signals.rule: there is no rule 'exit'; plugins declare entry",
        f"settings.yaml: {len(found) - 1} wrong settings",
    ]


def test_a_circle_is_named_and_a_run_says_the_same(tmp_path):
    written(tmp_path, "from tidewax import indicator\n@indicator\ndef a(b):\n    return b\n", "a.py")
    written(tmp_path, "from tidewax import indicator\n@indicator\ndef b(a):\n    return a\n", "b.py")
    file = written(tmp_path, "plugins:\n  files: [a.py, b.py]\n")
    assert check(file)[0] == "settings.yaml:2: plugins.files.0: indicators need each other in a circle: a -> b -> a"
    with pytest.raises(SettingsError, match=r"plugins\.files\.0: indicators need each other in a circle"):
        _ = Plan(load(str(file))).plugins


def test_files_are_found_beside_the_settings_and_enter_the_hash_by_name_version_and_parameters(tmp_path, monkeypatch):
    folder = tmp_path / "there"
    written(folder, MOMENTUM.replace("(close)", "(close, length=3)"), "m.py")
    file = written(folder, "plugins: {files: [m.py]}\n")
    monkeypatch.chdir(tmp_path)
    first = Plan(load("there/settings.yaml"))
    assert "momentum" in first.analysis.columns
    assert first.analysis_hash != Plan(load()).analysis_hash
    assert Plan(load()).analysis_hash == load().analysis_hash
    moved = tmp_path / "here"
    folder.rename(moved)
    assert Plan(load("here/settings.yaml")).analysis_hash == first.analysis_hash
    assert Plan(load(None, {"plugins": {"files": ["here/m.py"]}})).analysis_hash == first.analysis_hash
    given = {"plugins": {"parameters": {"momentum": {"length": 4}}}}
    hashes = {first.analysis_hash, Plan(load("here/settings.yaml", given)).analysis_hash}
    source = (moved / "m.py").read_text()
    (moved / "m.py").write_text(source + "\n# another byte")
    assert Plan(load("here/settings.yaml")).analysis_hash == first.analysis_hash
    (moved / "m.py").write_text(source.replace("@indicator\n", "@indicator(version=2)\n"))
    hashes.add(Plan(load("here/settings.yaml")).analysis_hash)
    assert len(hashes) == 3
    assert file.name == "settings.yaml"


@pytest.mark.parametrize("chunk", [37, 100_000])
def test_what_fails_is_named_and_contained(trades, plain, tmp_path, chunk):
    """One raises on bar 1,000, one gives the wrong length, one is infinite there, one writes, one peeks: nothing else changes."""
    path, without = plain
    bars = pl.read_parquet(path / "bars.1m.parquet").filter(pl.col("key") == BTC)
    price = bars["close"][1_000]
    g = int(bars["g"][1_000])
    assert (bars["close"] == price).sum() == 1
    text = (
        f"plugins:\n  files: [{FAULTY}]\n  parameters:\n"
        f"    raises_on_a_price: {{price: {price}}}\n    gives_infinity: {{price: {price}}}\n"
    )
    run = backtest(trades, tmp_path / "run", written(tmp_path, SHORT + text), chunk)
    assert run["digests"]["bars.1m"] == without["digests"]["bars.1m"]
    made, usual = (pl.read_parquet(p / "features.1m.parquet") for p in (tmp_path / "run", path))
    assert usual.drop("ordinal").equals(made.select(usual.drop("ordinal").columns))
    mine = made.filter(pl.col("key") == BTC)
    raised = mine.filter(pl.col("raises_on_a_price.status") == 4)
    assert raised["g"][0] == g
    assert raised["raises_on_a_price"].null_count() == len(raised)
    assert len(raised) < 128
    assert mine.filter(pl.col("g") != g)["gives_infinity"].null_count() == 0
    assert mine.filter(pl.col("g") == g)["gives_infinity"].null_count() == 1
    assert mine["wrong_length"].null_count() == mine["changes_its_input"].null_count() == len(mine)
    failed = {(entry["key"], entry["column"]): entry for entry in run["failed"]}
    entry = failed[BTC, "features.1m/raises_on_a_price"]
    assert entry["n"] == len(raised)
    assert entry["detail"] == f"raises_on_a_price failed at bar {g}: ArithmeticError: a price it cannot bear"
    assert failed[BTC, "features.1m/gives_infinity"]["n"] == 1
    assert failed[ETH, "features.5m/wrong_length"]["n"] == run["rows"]["features.5m"][ETH]
    assert (BTC, "features.1m/peeks_one_bar_ahead") not in failed, "a peek fails nothing: `tidewax laws` finds it"
    assert run["dead_letters"]["INDICATOR"] == sum(entry["n"] for entry in run["failed"])
    with (tmp_path / "run" / "dead_letters.jsonl").open() as lines:
        letters = [json.loads(line) for line in lines]
    sample = next(x for x in letters if x["source"] == f"{BTC}/features.1m/raises_on_a_price")
    assert (sample["reason"], sample["offset"], sample["step"]) == ("INDICATOR", g, "features.1m")


def test_a_failing_score_and_a_failing_rule_are_contained_too(trades, tmp_path):
    text = "plugins: {files: [m.py]}\n" + SHORT.replace("{tf: 1m}", "{tf: 1m, rule: has_two_levels}")
    written(tmp_path, TOO_FAR, "m.py")
    run = backtest(trades, tmp_path / "a", written(tmp_path, text))
    again = backtest(trades, tmp_path / "b", written(tmp_path, text), 501)
    assert run["failed"] == again["failed"]
    assert run["digests"] == again["digests"]
    failed = {(entry["key"], entry["column"]): entry for entry in run["failed"]}
    assert "a direction lies in [-1, 1]" in failed[BTC, "features.1m/technical.leaves_the_range"]["detail"]
    made = pl.read_parquet(tmp_path / "a" / "features.1m.parquet").filter(pl.col("key") == BTC)
    low = made.filter(pl.col("technical.raises_when_low.status") == 4)
    assert failed[BTC, "features.1m/technical.raises_when_low"]["n"] == len(low) == (made["rsi_14"] < 30).sum() > 0
    assert "a direction is 1, -1 or 0" in failed[BTC, "confluence/has_two_levels"]["detail"]
    assert run["dead_letters"]["RULE"] == sum(e["n"] for e in run["failed"] if e["column"].startswith("confluence/"))
    scores = pl.read_parquet(tmp_path / "a" / "confluence.parquet")
    assert (scores["state"] == 0).all()
    assert (scores["score"] > 55).sum() == run["dead_letters"]["RULE"]
    assert run["signals"] == 0


@pytest.mark.slow
def test_the_end_of_a_run_has_a_table_of_failures(trades, tmp_path):
    text = f"plugins: {{files: [{FAULTY}]}}\n" + SHORT
    out = tmp_path / "run"
    done = called("backtest", trades, "--out", out, "--config", written(tmp_path, text))
    assert done.returncode == 0, done.stderr
    assert "failed: missing on so many bars" in done.stdout
    assert "features.1m/wrong_length" in done.stdout
    assert "INDICATOR" in done.stdout


@pytest.fixture(scope="module")
def examples(trades, tmp_path_factory):
    out = tmp_path_factory.mktemp("examples") / "run"
    return out, backtest(trades, out, EXAMPLES)


def test_all_three_kinds_are_at_work(examples):
    out, run = examples
    assert run["signals"] > 3
    assert run["failed"] == []
    features = pl.read_parquet(out / "features.1m.parquet")
    assert features["momentum"].is_not_null().sum() == features["momentum.momentum_score"].is_not_null().sum()
    scores = pl.read_parquet(out / "confluence.parquet")
    assert scores["momentum.weight"][0] == 0.2
    assert scores["momentum.u"].is_not_null().sum() > 2_000
    bars = pl.read_parquet(out / "features.5m.parquet").select("key", "ts_close", "channel.upper", "channel.lower")
    base = pl.read_parquet(out / "bars.1m.parquet").select("key", ts=pl.col("ts_close"), close=pl.col("close"))
    joined = (
        scores.join(base, on=["key", "ts"])
        .sort("ts")
        .join_asof(bars.sort("ts_close"), left_on="ts", right_on="ts_close", by="key", check_sortedness=False)
    )
    long = (pl.col("close") > pl.col("channel.upper")) & (pl.col("score") >= 50)
    short = (pl.col("close") < pl.col("channel.lower")) & (pl.col("score") <= 50)
    wanted = joined.select(pl.when(long).then(1).when(short).then(-1).otherwise(0).alias("state"))["state"]
    assert (wanted == joined["state"].cast(pl.Int32)).all()
    assert (wanted != 0).sum() > 20


def test_a_signal_of_a_rule_is_explained_by_it(examples):
    out, _ = examples
    with closing(sqlite3.connect(out / "tidewax.sqlite")) as db:
        (signal_id, side) = db.execute("select signal_id, side from signals").fetchone()
    text = explain(out, signal_id)
    assert f"the rule breakout says {side}; score" in text
    assert "momentum_score@1m" in text


def test_a_finished_run_is_read_without_its_plugins(trades, tmp_path):
    text = "plugins: {files: [m.py]}\n" + SHORT
    settings = written(tmp_path, text)
    plugin = written(tmp_path, MOMENTUM, "m.py")
    backtest(trades, tmp_path / "a", settings)
    plugin.write_text(MOMENTUM.replace("1.0", "2.0"))
    backtest(trades, tmp_path / "b", settings)
    plugin.unlink()
    same = verify(tmp_path / "a", tmp_path / "a")
    assert (same.differences, same.notes) == ([], [])
    other = verify(tmp_path / "a", tmp_path / "b")
    assert any("momentum is" in difference for difference in other.differences)
    assert other.notes == [
        f"the plugin {plugin} was another file in {tmp_path / 'b'}, of the same version; its values may differ"
    ]


def test_an_unfinished_run_does_not_go_on_with_another_plugin(trades, tmp_path):
    settings = written(tmp_path, "plugins: {files: [m.py]}\n" + SHORT)
    plugin = written(tmp_path, MOMENTUM, "m.py")
    with RunDirectory(tmp_path / "run") as directory:
        Backtest(load(str(settings)), open_inputs([trades]), directory).begin()
    plugin.write_text(MOMENTUM.replace("1.0", "2.0"))
    with RunDirectory(tmp_path / "run") as directory, pytest.raises(RunError, match=r"m\.py was changed since"):
        Backtest(load(str(settings)), open_inputs([trades]), directory).begin()


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--chunk", 13), ("--chunk", 701, "--workers", 2)], ids=str)
def test_chunks_and_workers_change_nothing(trades, examples, tmp_path, options):
    done = called("backtest", trades, "--out", tmp_path / "run", "--config", EXAMPLES, *options)
    assert done.returncode == 0, done.stderr
    done = called("verify", examples[0], tmp_path / "run")
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("equal: ")


@pytest.mark.slow
def test_kills_lose_nothing_and_double_nothing(trades, examples, tmp_path):
    """kill -9 after random stretches of written output, and on with another chunk and number of workers."""
    out = tmp_path / "run"
    config = written(tmp_path, EXAMPLES.read_text().replace("[momentum.py", f"[{EXAMPLES.parent}/momentum.py"))
    text = config.read_text()
    for name in ("momentum_score.py", "breakout_rule.py", "path_signature.py"):
        text = text.replace(f" {name}", f" {EXAMPLES.parent}/{name}")
    config.write_text(text + "run: {epoch_s: 0}\n")
    kill_again_and_again(
        out, trades, "--config", config, kills=4, seed=3, rows=rows_written(examples[0]), chunks=(7, 31)
    )
    done = called("backtest", trades, "--out", out, "--config", config)
    assert done.returncode == 0, done.stderr
    done = called("verify", examples[0], out)
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("equal: ")
