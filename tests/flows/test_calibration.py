"""The reliability table from a run into the next one: what it changes, what it does not, and what is wrong with one."""

from __future__ import annotations

import hashlib
import json

import pytest
from commands import called

from config import Settings, load, with_table
from events.errors import SettingsError
from events.records import Outcome, Signal
from flows.calibration import read_table
from flows.explain import explain
from flows.outcomes import report
from flows.plan import Plan
from flows.report_runs import FinishedRun
from operators.reliability import reliability

KEY = "kraken:BTC/USDT"
MANY = (
    "bars: {time: [1m, 5m]}\nconfluence: {theta: 5.0, release: 2.0, blend: {1m: 0.7, 5m: 0.3}}\n"
    "signals: {tf: 1m, cooldown_bars: 0, hold_bars: 5, stop_atr: 1.0TABLE}\n"
)
TABLE = {
    "table_v": 1, "made_by": {"analysis_hash": "0" * 16, "outcomes": []}, "ts_from": 1, "ts_to": 2, "n": 300, "wins": 90,
    "buckets": [{"strength": 4, "tercile": 2, "regime": None, "n_b": 120, "wins_b": 70}],
}  # fmt: skip


def written(path, table):
    path.write_text(json.dumps(table))
    return path


def settings(path, **more):
    return with_table(Settings.model_validate({"signals": {"calibration": str(path), **more}}))


def test_the_bytes_of_the_table_enter_the_analysis_and_its_path_does_not(tmp_path):
    a, b = written(tmp_path / "a.json", TABLE), written(tmp_path / "b.json", TABLE)
    other = written(tmp_path / "c.json", TABLE | {"wins": 91})
    assert settings(a).analysis_hash == settings(b).analysis_hash
    assert len({settings(a).analysis_hash, settings(other).analysis_hash, Settings().analysis_hash}) == 3
    sha256 = hashlib.sha256(a.read_bytes()).hexdigest()
    assert settings(a).analysis()["signals"]["calibration"] == sha256
    assert settings(a, calibration_sha256=sha256).analysis_hash == settings(a).analysis_hash
    assert load(None, {"signals": {"calibration": str(a)}}).analysis_hash == settings(a).analysis_hash
    assert Plan(settings(a)).signals.calibration["buckets"] == [TABLE["buckets"][0] | {"p_b": None}]
    assert Plan(Settings()).signals.calibration is None


def test_a_table_that_was_not_read_or_has_changed_is_never_used(tmp_path):
    path = written(tmp_path / "a.json", TABLE)
    with pytest.raises(SettingsError, match=r"calibration is .*a\.json, which nobody has read"):
        _ = Settings.model_validate({"signals": {"calibration": str(path)}}).analysis_hash
    known = settings(path)
    written(path, TABLE | {"wins": 91})
    with pytest.raises(SettingsError, match=r"a\.json has changed since"):
        read_table(known)
    with pytest.raises(SettingsError, match="calibration_sha256 asks for 0000"):
        settings(path, calibration_sha256="0" * 64)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"table_v": 2}, "table_v: Input should be 1"),
        ({"n": "many"}, "n: Input should be a valid integer"),
        ({"n": 0}, "n: Input should be greater than or equal to 1"),
        ({"wins": 301}, "more wins than outcomes"),
        ({"buckets": [{"strength": 4}]}, r"buckets\.0\.tercile: Field required"),
        (
            {"buckets": [TABLE["buckets"][0] | {"p_b": 1.5}]},
            r"buckets\.0\.p_b: Input should be less than or equal to 1",
        ),
        ({"buckets": TABLE["buckets"] * 2}, "a bucket is there twice"),
    ],
)
def test_what_is_no_table_is_refused_with_its_path_and_the_place(tmp_path, change, said):
    path = written(tmp_path / "table.json", TABLE | change)
    with pytest.raises(SettingsError, match=rf"signals: .*table\.json is no reliability table of version 1: .*{said}"):
        _ = Plan(settings(path)).signals
    (tmp_path / "my.yaml").write_text(f"signals:\n  calibration: {path}\n")
    done = called("config", "check", tmp_path / "my.yaml")
    assert done.returncode == 1
    assert "is no reliability table of version 1" in done.stdout


def test_a_rate_of_its_own_stands_in_place_of_the_formula(tmp_path):
    bucket = TABLE["buckets"][0]
    path = written(tmp_path / "table.json", TABLE | {"buckets": [bucket | {"p_b": 0.61}]})
    assert reliability(read_table(settings(path)), 70.0, 0.9, None) == 0.61
    assert reliability(read_table(settings(path)), 70.0, 0.9, "RANGING") == 0.3


@pytest.mark.slow
@pytest.mark.data
def test_signals_of_a_run_with_a_table_say_what_it_says_and_outlive_it(market_data, tmp_path):
    file, table = market_data / "kraken_freqtrade" / "BTC_USDT-trades.feather", tmp_path / "table.json"

    def run(name, more=""):
        (tmp_path / f"{name}.yaml").write_text(MANY.replace("TABLE", more))
        done = called(
            "backtest", file, "--out", tmp_path / name, "--instrument", KEY, "--config", tmp_path / f"{name}.yaml"
        )
        assert done.returncode == 0, done.stderr
        return FinishedRun(tmp_path / name)

    plain = run("plain")
    assert called("outcomes", plain.path, "--calibrate", table).returncode == 0
    known, sha256 = json.loads(table.read_text()), hashlib.sha256(table.read_bytes()).hexdigest()
    calibrated = run("calibrated", f", calibration: {table}")
    table.unlink()
    again = FinishedRun(tmp_path / "calibrated")
    told, before = again.records(Signal, KEY), plain.records(Signal, KEY)
    assert [(s.ts, s.side, s.stop) for s in told] == [(s.ts, s.side, s.stop) for s in before]
    for signal in told:
        assert signal.reliability == reliability(known, signal.score, signal.agreement, signal.regime)
        assert signal.calibrated
        assert signal.in_sample == (signal.ts < known["ts_to"])
    assert len({s.reliability for s in told}) > 5
    assert {s.regime for s in told} > {None, "RANGING"}
    assert again.run["analysis"]["signals"]["calibration"] == sha256
    assert again.run["analysis_hash"] == again.plan.settings.analysis_hash == calibrated.run["analysis_hash"]
    text = explain(again.path, told[0].signal_id)
    assert f"reliability {told[0].reliability:.2f}, in sample" in text
    assert report([again.path])["n"] == len(again.records(Outcome, KEY))
    assert called("verify", again.path, again.path).returncode == 0
    uncalibrated = called("backtest", file, "--out", tmp_path / "calibrated", "--instrument", KEY)
    assert "holds a finished run of other settings" in uncalibrated.stderr
    missing = called(
        "backtest", file, "--out", tmp_path / "x", "--config", tmp_path / "calibrated.yaml", "--instrument", KEY
    )
    assert missing.returncode == 1
    assert "calibrated.yaml:3: signals.calibration: the reliability table" in missing.stderr
    assert not (tmp_path / "x").exists()
