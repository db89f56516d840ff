"""The reference pages that are made from the code: `python -m flows.reference docs`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import typer.main

from config import Settings
from events.feeds import TRADES
from events.streams import Columns, is_digested
from flows.metric_names import BUCKETS_S, METRICS, PREFIX
from flows.plan import Plan
from flows.reference_notes import BETA_NOTES, NOTES
from flows.schemas import published
from operators.ballot import BESIDE_SCORES
from operators.beta import BETA_COLUMNS
from operators.dimensions import DIMENSIONS, SCORES
from operators.indicators import BUILTIN, TALIB_FUNCTIONS, talib_indicator
from operators.microstructure.micro import KINDS
from operators.microstructure.part import INPUTS

_MADE = "Made from the code by `python -m flows.reference docs`; a test keeps it so.\n"
_OF_COLUMNS = {
    "features": "one per indicator column and score",
    "beta": "one per coefficient, residual and score of bitcoin beta",
    "micro": "one per column of microstructure, score and freshness of a score",
}
_ABOUT = {
    "beta": "Of runs of several instruments, `beta.reference` among them.",
    "global": "Figures of all instruments together, under the key `GLOBAL`, of runs of five instruments or more, or whose "
    "instruments come and go: a row per minute, "
    "made of the bars that close then, each waited for or void, and of use to later minutes alone.",
}
_TYPES = {"f": "number", "i": "whole number", "u": "whole number"}


def pages() -> dict[str, str]:
    """The pages by file name, and the schemas of records.

    >>> sorted(pages())[:2]
    ['reference-commands.md', 'reference-indicators.md']
    """
    made = {"commands": _commands(), "indicators": _indicators(), "metrics": _metrics(), "streams": _streams()}
    return {f"reference-{name}.md": "\n".join(lines) + "\n" for name, lines in made.items()} | published()


def _commands() -> Iterator[str]:
    from flows.__main__ import app  # noqa: PLC0415  # the command line imports all flows

    yield f"# Commands\n\n{_MADE}"
    yield "Every command says what was wrong in a sentence and exits with 1; `--help` prints what stands here."
    root = typer.main.get_command(app)
    yield from _command("tidewax", root)


def _command(name: str, command: Any) -> Iterator[str]:
    if hasattr(command, "commands"):
        for child, inner in sorted(command.commands.items()):
            yield from _command(f"{name} {child}", inner)
        return
    yield f"\n## {name}\n\n{inspect.cleandoc(command.help or '')}\n"
    yield "| | default | |\n|---|---|---|"
    for parameter in command.params:
        optional = parameter.param_type_name == "option"
        label = ", ".join(parameter.opts) if optional else (parameter.metavar or parameter.name.upper())
        default = parameter.default
        shown = "" if default in (None, False, ()) or callable(default) else f"`{default}`"
        yield f"| `{label}` | {'required' if parameter.required else shown} | {parameter.help or ''} |"


def _indicators() -> Iterator[str]:
    yield f"# Indicators and scores\n\n{_MADE}"
    yield (
        "A value at absolute bar index g is that of its function over the bars from `(g // H - 1) * H` on. It is cold before its "
        "first index, warming before its stable length, converged from there, and settled once all of that history was seen.\n"
    )
    yield "## Scores\n\nDirections u in [-1, 1], by dimension; the columns they need are computed without being asked for.\n"
    yield "| dimension | score | weight | of | |\n|---|---|---|---|---|"
    for beside in BESIDE_SCORES:
        of, streams = (", ".join(f"`{name}`" for name in names) for names in (beside.of, beside.streams))
        fresh = "; fades with its age" if beside.freshness else ""
        yield f"| {beside.dimension} | `{beside.column}` | {beside.weight:.2f} | {of} | of instruments with {streams}{fresh} |"
    for dimension in DIMENSIONS:
        for score in SCORES:
            if score.dimension == dimension:
                needs = ", ".join(f"`{need}`" for need in score.needs)
                yield f"| {dimension} | `{score.column}` | {score.weight:.2f} | {needs} | {_first_line(score.function)} |"
    yield "\n## Microstructure\n\nColumns of `micro.{timeframe}`, each of instruments that have its streams; silent on others.\n"
    for kind in KINDS:
        columns = ", ".join(f"`{column}`" for column in kind.columns if "." not in column)
        yield f"{inspect.getdoc(kind)}\n\nColumns: {columns}\n"
    yield (
        "\n## Bitcoin beta\n\nColumns of `beta.{timeframe}`, of instruments that are compared with `beta.reference`; silent on "
        "others. A pair with a side missing or synthetic, or of a reference that was void then, is dropped, and the row is "
        "missing. First values after 60 pairs; settled when the window is full: 240 pairs (5m 288, 30m 336, 4h 180).\n"
    )
    yield "| column | |\n|---|---|"
    yield from (f"| `{column}` | {BETA_NOTES[column]} |" for column in BETA_COLUMNS)
    yield "\n## The project's own\n\nNamed in `indicators.builtin`.\n"
    yield "| name | columns | takes | first index | stable length | H |\n|---|---|---|---|---|---|"
    for name, made in sorted(BUILTIN.items()):
        columns, takes = (", ".join(f"`{c}`" for c in names) for names in (made.columns, made.inputs))
        memory = ("its own", "") if made.wide else (str(made.stable), str(made.history))
        yield f"| `{name}` | {columns} | {takes or 'whole bars'} | {made.lookback} | {memory[0]} | {memory[1]} |"
    yield "\n## TA-Lib\n\nNamed in `indicators.talib` with parameters by TA-Lib's names; what is not given has the default shown.\n"
    yield "| fn | parameters | columns | takes | first index | stable length | H |\n|---|---|---|---|---|---|---|"
    for fn in TALIB_FUNCTIONS:
        made = talib_indicator(fn)
        given = made.source[2:]
        parameters = ", ".join(f"{name} {value:g}" for name, value in zip(given[::2], given[1::2]))
        columns, takes = ", ".join(f"`{c}`" for c in made.columns), ", ".join(made.inputs)
        yield f"| {fn} | {parameters} | {columns} | {takes} | {made.lookback} | {made.stable} | {made.history} |"


def _metrics() -> Iterator[str]:
    yield f"# Metrics\n\n{_MADE}"
    yield (
        "`tidewax live --metrics-port N` serves them at http://127.0.0.1:N/metrics, with those of the process (`process_*`) and, "
        "with `metrics.engine`, those of Bytewax (`bytewax_*`). Counters begin at the start of the process unless they say "
        "otherwise. `venue` is the exchange, `key` the instrument, or `other` beyond `metrics.per_key` instruments.\n"
    )
    yield "| metric | type | labels | |\n|---|---|---|---|"
    for name, (kind, about, labels) in METRICS.items():
        served = f"{PREFIX}{name}" + ("_total" if kind == "counter" else "")
        yield f"| `{served}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {about} |"
    yield f"\nHistograms have buckets of {', '.join(f'{bound:g}' for bound in BUCKETS_S)} seconds."


def _first_line(function: Any) -> str:
    return (inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " ")


def _streams() -> Iterator[str]:
    yield f"# Streams\n\n{_MADE}"
    yield (
        "A run directory holds each stream as a Parquet file and as a table of `tidewax.sqlite`. Column streams have `key` (the "
        "instrument) and `ordinal` (rows of one instrument, stream and time, counted) beside their own columns; record streams "
        "hold a JSON object a row. Null means that there is no value.\n"
    )
    once: dict[str, str] = {}
    some = [Settings().beta.reference, *(f"binance:{base}/USDT" for base in ("ETH", "SOL", "XRP", "BNB"))]
    streams = Plan(Settings(), feeds=frozenset({TRADES, *INPUTS}), instruments=some).streams
    for name in streams:
        stem = name.rsplit(".", 1)[0] if "." in name else name
        once.setdefault(stem, name)
    for stem, name in once.items():
        stream = streams[name]
        timeframe = "" if "." not in name else ".1m" if stem == "global" else ".{timeframe}"
        compared = "Compared by `tidewax verify`." if is_digested(name) else "Not compared by `tidewax verify`."
        yield f"\n## {stem}{timeframe}\n\n{compared}\n"
        if stem in _ABOUT:
            yield f"{_ABOUT[stem]}\n"
        if stem == "bars.open":
            yield "The bars that are still open when a bounded run ends, flagged flushed; columns as those of bars."
            continue
        if stem == "gaps":
            yield "Those of order books, in runs that have them, are a stream of the same columns, `gaps.book`.\n"
        yield "| column | type | |\n|---|---|---|"
        if isinstance(stream, Columns):
            blocks = {column for names in stream.blocks.values() for column in names}
            plain = [(column, stream.packed[column]) for column, _, _ in stream.flat if column not in blocks]
            yield from (f"| `{column}` | {_type(dtype)} | {NOTES[column]} |" for column, dtype in plain)
            yield from _blocks(stem, stream)
        else:
            for field, info in stream.record.model_fields.items():
                kind = getattr(info.annotation, "__name__", None) or str(info.annotation).replace("typing.", "")
                yield f"| `{field}` | {kind.replace('|', 'or')} | {NOTES[field]} |"


def _blocks(stem: str, stream: Columns) -> Iterator[str]:
    for block in stream.blocks:
        base = stream.dtype[block].base
        if block in ("values", "status") and stem in _OF_COLUMNS:
            what = _OF_COLUMNS[stem] if block == "values" else f"one `.status` each: {NOTES['status']}"
            yield f"| `{'{column}' if block == 'values' else '{column}.status'}` | {_type(base)} | {what} |"
        elif block == "gates":
            names = ", ".join(f"`{name}`" for name in stream.blocks[block])
            yield f"| {names} | {_type(base)} | 1 where the gate is open; a shut one blocks entries and never changes the score |"
        else:
            yield f"| `{{dimension}}.{block}` | {_type(base)} | {NOTES[block]} |"


def _type(dtype: np.dtype[Any]) -> str:
    return _TYPES[dtype.kind]


if __name__ == "__main__":
    (Path(sys.argv[1]) / "schemas").mkdir(exist_ok=True)
    for _file, _text in pages().items():
        (Path(sys.argv[1]) / _file).write_text(_text, "utf-8")
