"""The published JSON schemas are true of every record that a run makes, and of the newest rows."""

from __future__ import annotations

import json

import polars as pl
import pytest
from commands import command
from jsonschema import Draft202012Validator

from config import load
from connectors.kafka.names import Topics
from connectors.kafka.newest import newest_message
from connectors.kafka.routes import result_routes
from connectors.kafka.standing import GONE
from connectors.segments import read_keys, read_stream
from connectors.simulator import Market, write_trades
from events.records import RECORDS
from events.streams import Records, base_streams
from events.times import DAY_NS
from flows.report_runs import FinishedRun
from flows.schemas import published, schemas_of, write_schemas

KEY = "synthetic:BTC/USDT"
KINDS = ("bars", "features", "confluence", "signals", "updates", "dead_letters")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with signals, and with rows that cannot be used."""
    folder = tmp_path_factory.mktemp("schemas")
    file = folder / "trades.parquet"
    write_trades(file, (Market(seed=3),), 19_675 * DAY_NS, 1.5)
    some = pl.int_range(pl.len()) % 1_000 == 7
    pl.read_parquet(file).with_columns(price=pl.when(some).then(None).otherwise("price")).write_parquet(file)
    done = command("backtest", file, "--out", folder / "run", "--config", "short", "--bad-rows", "dead-letter")
    assert done.returncode == 0, done.stderr
    return FinishedRun(folder / "run")


@pytest.mark.slow
def test_every_record_of_a_run_is_as_its_schema_says(run):
    checked = {}
    schemas = schemas_of(run.plan.streams)
    for name in ("signals", "updates", "dead_letters"):
        validator = Draft202012Validator(schemas[f"{name}.json"])
        records = run.records(RECORDS[name], KEY)
        for record in records:
            validator.validate(json.loads(record.canonical()))
        checked[name] = len(records)
    assert min(checked.values()) > 0, checked


@pytest.mark.slow
def test_the_newest_rows_of_a_run_are_as_their_schema_says(run):
    schemas, checked = schemas_of(run.plan.streams), set()
    routes = result_routes(Topics("t"), run.plan.streams, KINDS)
    for name, route in routes.items():
        if isinstance(route.stream, Records) or route.latest is None:
            continue
        validator = Draft202012Validator(schemas[f"latest.{name}.json"])
        for key in read_keys(run.path, route.stream):
            rows = read_stream(run.path, route.stream, key)
            for last in (0, len(rows) // 2, len(rows) - 1):
                message = newest_message(key, name, route.stream, rows[last : last + 1])
                assert message.key.decode() == f"{key}|{name}"
                told = json.loads(message.value)
                validator.validate(told)
                assert told["ts_close" if "ts_close" in told else "ts"] == rows["available_at"][last]
                assert not validator.is_valid(told | {"more": 1})
                checked.add(name)
    lengths = [name for name, _ in run.plan.timeframes]
    assert checked == {"confluence", *(f"{stem}.{name}" for stem in ("bars", "features") for name in lengths)}


def test_an_instrument_that_has_left_is_told_by_null():
    route = result_routes(Topics("t"), base_streams(["1m"]), KINDS)["bars.1m"]
    assert newest_message("x:A/B", "bars.1m", route.stream, GONE).value is None


def test_schemas_are_written_with_the_columns_of_settings(tmp_path):
    names = write_schemas(tmp_path / "new", load("short", {"indicators": {"builtin": ["ao_5_34"]}}))
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == names
    assert {"signals.json", "latest.bars.5m.json", "latest.confluence.json"} <= set(names)
    for name in names:
        schema = json.loads((tmp_path / "new" / name).read_text())
        Draft202012Validator.check_schema(schema)
    features = json.loads((tmp_path / "new" / "latest.features.5m.json").read_text())
    assert {"atr_14", "atr_14.status", "ao_5_34"} <= set(features["properties"])
    assert {f"schemas/{name}" for name in names} & set(published())
