"""A backtest of files of all streams on the command line: what took part and why not, explained, verified, in every sink."""

from __future__ import annotations

import json
import re
import sqlite3

import numpy as np
import pytest
import yaml
from commands import called
from lab import ALL, deliver
from lab import run as run_graph
from test_graph_beside import EVERY, PERPETUAL, SETTINGS, markets, whole_updates

from config import Settings
from config.settings import PRESETS
from connectors.files import read_streams
from connectors.files.writer import rows_file
from events.records import Signal
from flows.explain import explain
from flows.graph import build
from flows.plan import Plan
from flows.report_runs import FinishedRun

CHOSEN = SETTINGS.model_dump(mode="json", include={"bars", "confluence", "signals", "sources", "indicators"})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("beside")
    for name, rows in markets()[PERPETUAL].items():
        with rows_file(folder / f"{name}.parquet", name, PERPETUAL) as file:
            file.write(rows)
    chosen = {section: dict(CHOSEN[section]) for section in ("bars", "confluence", "sources")}
    chosen |= {
        "signals": {"tf": "1m"},
        "indicators": {n: CHOSEN["indicators"][n] for n in ("liquidations", "open_interest")},
    }
    (folder / "settings.yaml").write_text(yaml.safe_dump(chosen))
    return folder


def backtest(made, name, *options):
    files = [made / f"{stream}.parquet" for stream in EVERY]
    done = called("backtest", *files, "--out", made / name, "--config", made / "settings.yaml", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def run(made):
    said = backtest(made, "run")
    return FinishedRun(made / "run"), said


def test_the_end_says_what_took_part_and_how_covered_it_was(run):
    finished, said = run
    assert finished.run["presets"] == {PERPETUAL: "full9"}
    told = finished.run["results"][PERPETUAL]["dimensions"]
    assert told.keys() == PRESETS["full9"].keys()
    rows = finished.rows("confluence", PERPETUAL)
    names = [name for name, _ in finished.plan.dimensions]
    for name in ("order_flow", "liquidity", "sentiment", "technical"):
        mine = rows["q"][:, names.index(name)]
        assert told[name]["covered"] == pytest.approx(mine[rows["status"][:, names.index(name)] != 5].mean(), rel=1e-12)
        assert told[name]["covered"] > 0.3
    assert (told["ml"], told["bitcoin_beta"]) == (
        {"covered": None, "why": "it is off"},
        {"covered": None, "why": "there is no reference for it"},
    )
    line = next(line for line in said.splitlines() if line.startswith(f"{PERPETUAL}: dimensions: "))
    assert re.search(r"liquidity covered \d\d %", line)
    assert "ml not applicable: it is off" in line
    assert re.search(r"gates that blocked them: .*spread \d+", said)


def test_it_is_what_the_graph_makes_of_the_same_rows(made, run):
    finished = run[0]
    plan = Plan(SETTINGS, feeds=frozenset(EVERY), instruments=(PERPETUAL,))
    rows = {stream: rows for (_, stream), rows in read_streams([made / f"{name}.parquet" for name in EVERY]).items()}
    frames = whole_updates(deliver({name: rows[name] for name in EVERY}, ALL, key=PERPETUAL))
    ended = min(part["available_at"][-1] for part in rows.values())  # files end there, the lab's day goes on
    out = run_graph(lambda market: build(market, plan), {PERPETUAL: frames})[PERPETUAL]
    for name in ("micro.1m", "micro.5m", "micro.30m", "confluence"):
        ours, theirs = finished.rows(name, PERPETUAL), out[name]
        ours, theirs = (made[made["available_at"] <= ended] for made in (ours, theirs))
        assert len(ours) > 5
        assert ours.tobytes() == theirs.tobytes(), name


@pytest.mark.slow
def test_another_chunk_and_more_workers_verify_as_equal(made, run):
    backtest(made, "again", "--chunk", 7, "--workers", 2)
    done = called("verify", made / "run", made / "again")
    assert done.returncode == 0, done.stdout
    stored = json.loads((made / "run" / "run.json").read_text())
    assert {"micro.1m", "micro.5m", "micro.30m", "confluence"} <= stored["digests"].keys()


def test_every_sink_has_the_columns(made, run):
    finished = run[0]
    with sqlite3.connect(made / "run" / "tidewax.sqlite") as db:
        found = db.execute(
            'SELECT ts_close, imb_band, "sentiment.funding.freshness" FROM micro_1m ORDER BY ts_close'
        ).fetchall()
    rows, columns = finished.rows("micro.1m", PERPETUAL), finished.plan.beside[0].columns
    assert [ts for ts, _, _ in found] == rows["ts_close"].tolist()
    for place, name in ((1, "imb_band"), (2, "sentiment.funding.freshness")):
        ours = np.array([row[place] for row in found], float)
        assert np.array_equal(ours, rows["values"][:, columns.index(name)], equal_nan=True)
        assert np.isfinite(ours).any()


def test_explain_names_the_features_of_every_stream_with_their_freshness(made, run):
    finished, seen = run[0], ""
    columns = finished.plan.beside[0].columns
    for signal in finished.records(Signal, PERPETUAL):
        text = explain(made / "run", signal.signal_id)
        seen += text
        listed = text.split("top features by points of the score\n")[1].splitlines()
        rows = finished.rows("micro.1m", PERPETUAL)
        row = rows[np.searchsorted(rows["ts_close"], signal.ts, side="right") - 1]
        for name, share in signal.components.items():
            for feature in share.top:
                score = f"{name}.{feature.partition('@')[0]}"
                if score not in columns or not feature.endswith("@1m"):
                    continue
                line = next(line for line in listed if line.split()[:1] == [feature])
                assert f"u {row['values'][columns.index(score)]:+.3f}" in line
                if f"{score}.freshness" in columns:
                    assert f"freshness {row['values'][columns.index(f'{score}.freshness')]:.6g}" in line
    assert re.search(r"book_imbalance@1m .*of imb_band [-\d.]", seen)
    assert re.search(r"sentiment\.\w+@1m u [-+][\d.]+ \w+, freshness|\w+@1m .*freshness", seen)
    assert re.search(r"gates passed: .*book, spread", seen)
    assert "funding@5m" not in seen, "sentiment is of the base timeframe alone"


@pytest.mark.data
@pytest.mark.slow
def test_captures_of_a_perpetual_with_a_funding_file(market_data, tmp_path):
    """Ten minutes of its trades, book and quotes, and the settlements of the month before."""
    hour, last = 3_600_000, 1_721_347_200_000
    rates = [f"{last - 8 * hour * k},{1e-5 * (k % 7 - 2):.6f}" for k in range(100, -1, -1)]
    funding = tmp_path / "funding.csv"
    funding.write_text("\n".join(["time,rate", *rates]) + "\n")
    captures = [market_data / "hftbacktest" / f"hist_usdm_btcusdt_2024071{day}.gz" for day in (8, 9)]
    out = tmp_path / "run"
    done = called("backtest", *captures, funding, "--out", out, "--instrument", "binance:BTC/USDT:USDT")
    assert done.returncode == 0, done.stderr
    finished = FinishedRun(out)
    told = finished.run["results"]["binance:BTC/USDT:USDT"]["dimensions"]
    assert finished.run["presets"] == {"binance:BTC/USDT:USDT": "full9"}
    assert told["liquidity"]["covered"] > 0.5
    assert told["sentiment"]["covered"] > 0.2
    assert Settings.model_validate(finished.run["settings"]).confluence.preset == "auto"
