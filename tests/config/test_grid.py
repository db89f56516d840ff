"""`--set`: values by path, several of them as a grid, and all mistakes at once."""

from __future__ import annotations

import pytest

from config import grid
from config.grid import MOST
from events.errors import SettingsError


def test_all_combinations_in_order_over_file_environment_and_arguments(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text("signals: {stop_atr: 9, hold_bars: 7}\nrun: {workers: 3}\n")
    texts = ["signals.stop_atr=1.5,2", "confluence.theta=10,prior", "run.chunk=5"]
    points = grid(str(file), texts, {"run": {"chunk": 6}}, {"TIDEWAX__SIGNALS__STOP_ATR": "4"})
    assert [(p.settings.signals.stop_atr, p.settings.confluence.theta) for p in points] == [
        (1.5, 10.0), (1.5, "prior"), (2.0, 10.0), (2.0, "prior"),
    ]  # fmt: skip
    assert {(p.settings.run.chunk, p.settings.run.workers, p.settings.signals.hold_bars) for p in points} == {(5, 3, 7)}
    assert points[1].given == (("signals.stop_atr", "1.5"), ("confluence.theta", "prior"), ("run.chunk", "5"))


def test_lists_mappings_and_nothing_are_yaml():
    given = [
        "bars.time=[1m,5m],[1m, 5m, 15m]",
        "confluence.blend={1m: 0.5, 5m: 0.5}",
        "signals.equity=null,1000",
        "signals.tf=5m",
    ]
    points = grid(None, given, environ={})
    assert [point.settings.bars.time for point in points[::2]] == [("1m", "5m"), ("1m", "5m", "15m")]
    assert [point.settings.signals.equity for point in points[:2]] == [None, 1000.0]
    assert points[0].settings.confluence.blend == {"1m": 0.5, "5m": 0.5}
    (one,) = grid("short", ["confluence.blend.1m=0.6", "confluence.blend.5m=0.4"], environ={})
    assert one.settings.confluence.blend == {"1m": 0.6, "5m": 0.4}
    assert grid(None, [], environ={})[0].given == ()


def test_all_mistakes_at_once_with_what_was_given():
    texts = [
        "signals.stop_art=1,2",
        "signals.stop_atr=2,-1",
        "bars.max_fill=lots",
        "bars.time.0=1m",
        "stop_atr=2",
        "nonsense",
        "signals.risk=0.01,",
        "run.chunk=5",
        "run.chunk=6",
    ]
    with pytest.raises(SettingsError) as error:
        grid(None, texts, environ={})
    lines = str(error.value).splitlines()
    assert lines[0] == "the settings: 8 wrong settings"
    assert sorted(lines[1:]) == [
        "--set bars.max_fill=lots: bars.max_fill: must be a whole number, not 'lots'",
        "--set bars.time.0=1m: bars.time.0: a list is set as a whole, as [...]",
        "--set nonsense: is not path=value, such as signals.stop_atr=2",
        "--set run.chunk=6: run.chunk: is given twice; put all its values into one --set, with commas",
        "--set signals.risk=0.01,: signals.risk: has an empty value between its commas; nothing is written null",
        "--set signals.stop_art=1,2: signals.stop_art: unknown setting; did you mean stop_atr?",
        "--set signals.stop_atr=2,-1: signals.stop_atr: must be greater than 0, not -1",
        "--set stop_atr=2: stop_atr: unknown setting; did you mean signals.stop_atr?",
    ]


def test_settings_that_do_not_fit_together_are_told():
    with pytest.raises(
        SettingsError, match=r"--set signals.tf=1m,30m: signals.tf: is 30m, which is not among bars.time"
    ):
        grid("short", ["signals.tf=1m,30m"], environ={})


def test_a_grid_has_an_end():
    with pytest.raises(SettingsError, match=f"more than {MOST:,}"):
        grid(None, [f"signals.hold_bars={','.join(map(str, range(1, MOST + 2)))}"], environ={})
