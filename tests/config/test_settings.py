"""Settings: defaults, profiles, and every mistake named with its path."""

from __future__ import annotations

import pytest

from config import Settings, load, profile_names
from config.settings import PRESETS
from events.errors import SettingsError
from flows.plan import Plan


@pytest.mark.parametrize("name", profile_names())
def test_shipped_profiles_load_and_plan(name):
    plan = Plan(load(name))
    assert plan.analysis.columns
    assert sum(weight for _, _, weight in plan.confluence.timeframes) == pytest.approx(1)


def test_the_default_profile_is_the_defaults():
    assert load("default").analysis_hash == load().analysis_hash
    assert load("short").analysis_hash != load().analysis_hash


def test_what_the_shipped_settings_compute_is_pinned():
    assert (load().analysis_hash, load("short").analysis_hash) == ("e0bf650ed1fe6a64", "c29781b6a41dfb1c")


def test_streams_of_a_live_run_are_named_or_all():
    def feeds(given):
        return load(None, {"exchange": {"feeds": given}}).exchange.feeds

    assert load().exchange.feeds == ("trades",)
    assert feeds("all") == ("all",)
    assert feeds(["trades", "top"]) == ("trades", "top")
    for given, said in ((["top"], "must have trades"), (["trades", "fundin"], "did you mean funding?")):
        with pytest.raises(SettingsError, match=said):
            feeds(given)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_sum_to_one(preset):
    assert sum(PRESETS[preset].values()) == pytest.approx(1, abs=1e-9)


def test_how_a_run_is_cut_up_is_not_part_of_the_analysis():
    assert load(None, {"run": {"chunk": 7, "workers": 2}}).analysis_hash == load().analysis_hash
    assert load(None, {"sources": {"lateness_s": 5}}).analysis_hash == load().analysis_hash
    assert load(None, {"signals": {"stop_atr": 3}}).analysis_hash != load().analysis_hash
    assert load(None, {"confluence": {"preset": "price6"}}).analysis_hash == load().analysis_hash


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bars: {tiem: [1m]}", "bars.tiem"),
        ("bars: {time: [5m]}", "first timeframe must be 1m"),
        ("bars: {time: [1m, 7m]}", "divides a day"),
        ("bars: {time: [1m, 30m, 5m]}", "rising order"),
        ("signals: {tf: 1h}", "not among bars.time"),
        ("confluence: {blend: {1m: 0.5}}", "sum to 1"),
        ("confluence: {blend: {1m: 0.5, 2h: 0.5}}", "2h"),
        ("confluence: {theta: 60.0}", "between 0 and 50"),
        ("confluence: {theta: low}", "confluence.theta"),
        ("confluence: {preset: best}", "confluence.preset"),
        ("signals: {risk: 0.5}", "signals.risk"),
        ("weather: {}", "weather"),
        ("bars: 5", "bars: must be a section with settings in it, not 5"),
        ("bars: [", "not valid YAML"),
        ("- a", "sections"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, text, said):
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=r"settings\.yaml") as error:
        load(str(file))
    assert said in str(error.value)


def test_all_mistakes_are_named_at_once(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("bars: {max_fill: 0}\nsignals: {hold_bars: 0}\noutcomes: {fee_bps: -1}\n")
    with pytest.raises(SettingsError, match="3 wrong settings") as error:
        load(str(file))
    assert str(error.value).splitlines()[1:] == [
        f"{file}:1: bars.max_fill: must be at least 1, not 0",
        f"{file}:2: signals.hold_bars: must be at least 1, not 0",
        f"{file}:3: outcomes.fee_bps: must be at least 0, not -1",
    ]


@pytest.mark.parametrize(
    ("calls", "said"),
    [
        ([{"fn": "RSIX"}], "no indicator 'RSIX'"),
        ([{"fn": "RSI", "period": 14}], "no parameter 'period'"),
        ([{"fn": "EMA", "timeperiod": -5}], "EMA does not take timeperiod -5"),
        ([{"fn": "EMA", "timeperiod": 14.5}], "must be a whole number"),
        ([{"fn": "RSI"}, {"fn": "RSI"}], "two indicators make a column 'rsi'"),
        ([{"fn": "RSI", "timeperiod": 10**6}], "RSI does not take timeperiod 1e+06"),
    ],
)
def test_a_wrong_indicator_is_named(calls, said):
    with pytest.raises(SettingsError, match="indicators: ") as error:
        _ = Plan(Settings.model_validate({"indicators": {"talib": calls}})).analysis
    assert said in str(error.value)


def test_a_run_needs_a_dimension():
    with pytest.raises(SettingsError, match="no dimension is left"):
        _ = Plan(Settings.model_validate({"dimensions": {"disabled": ["technical", "structure", "volume"]}})).dimensions


def test_the_preset_of_a_run_follows_from_its_feeds():
    auto, price6, bars3 = (load(None, {"confluence": {"preset": name}}) for name in ("auto", "price6", "bars3"))
    assert auto.for_feeds({"trades", "funding"}).analysis_hash == price6.analysis_hash
    assert auto.for_feeds({"klines.1m", "funding"}).analysis_hash == bars3.analysis_hash
    plan = Plan(auto, feeds=frozenset({"klines.1m"}))
    assert (plan.preset, plan.confluence.theta_base, plan.funding) == ("bars3", 20.0, False)
    assert plan.signals.analysis_hash == bars3.analysis_hash
    assert [name for name, _ in plan.dimensions] == ["volume", "structure", "technical"]
    with pytest.raises(SettingsError, match="Name a preset"):
        Plan(auto, feeds=frozenset({"klines.1m", "trades"}))
    assert Plan(price6, feeds=frozenset({"klines.1m", "trades"})).preset == "price6"
