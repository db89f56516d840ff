"""The whole system on one screen. Every arrow is a stream of frames keyed by instrument.

market ─> intake ─> bars ─┬─> features, one step per timeframe ─┬─> confluence ─> signals and outcomes
                          └─────────────────────────────────────┘
"""

from __future__ import annotations

from flows.plan import Plan
from operators.bars import Bars
from operators.confluence import Confluence
from operators.history import Features
from operators.intake import Intake
from operators.keyed import Frames, keyed, merge, omit, pick, staged
from operators.signals import Signals

INTERNAL = ("trades", "funding", "votes")
"""Streams that stay inside the graph."""


def enter(market: Frames, plan: Plan) -> tuple[Frames, Frames]:
    """All frames of the sources, validated, with exact watermarks; and the bars made of them."""
    intake = staged(
        "intake", lambda: Intake(plan.lateness_ns, plan.sequenced), ["intake", sorted(plan.sequenced)], market
    )
    trades = pick("trades", intake, "trades")
    return intake, keyed("bars", Bars, (plan.timeframes, plan.max_fill), ("trades",), trades)


def build(market: Frames, plan: Plan) -> Frames:
    """From all that the sources give to all that the sinks get."""
    intake, bars = enter(market, plan)
    features = {
        name: keyed(
            f"features_{name}",
            Features,
            (name, length, plan.analysis),
            (f"bars.{name}",),
            pick(f"bars_{name}", bars, f"bars.{name}"),
        )
        for name, length in plan.timeframes
    }
    base = f"bars.{plan.timeframes[0][0]}"
    confluence = keyed(
        "confluence",
        Confluence,
        (plan.confluence, plan.analysis),
        (base, *(f"features.{name}" for name in features)),
        pick("base", bars, base),
        *(pick(f"features_{name}_rows", rows, f"features.{name}") for name, rows in features.items()),
    )
    signals = keyed("signals", Signals, (plan.signals,), Signals.streams, confluence)
    return omit("results", merge("all", intake, bars, *features.values(), confluence, signals), *INTERNAL)
