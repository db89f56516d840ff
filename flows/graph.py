"""The whole system on one screen. Every arrow is a stream of frames keyed by instrument.

market ─> intake and bars ─┬─> features, one step per timeframe ─┬─> confluence ─> signals and outcomes
                           ├─────────────────────────────────────┘                    │
                           └─ funding ────────────────────────────────────────────────┘
"""

from __future__ import annotations

from events.feeds import DRIVING, KLINES, RATES, TRADES
from flows.plan import Plan
from operators.bars import Bars
from operators.chain import Chain, Either
from operators.confluence import Confluence
from operators.history import Features
from operators.intake import Intake
from operators.keyed import Frames, keyed, merge, omit, pick, staged
from operators.klines import KlineBars
from operators.ordered import Ordered
from operators.signals import Signals


def enter(market: Frames, plan: Plan) -> Frames:
    """All that the sources send, validated: trades or klines as bars, the rest as it is; with the gaps, dead letters and counts of
    the intake. Intake and bars share a step, because every trade passes both.
    """

    def stages() -> Chain:
        bars = {
            TRADES: lambda: Ordered(Bars(plan.timeframes, plan.max_fill), (TRADES,)),
            KLINES: lambda: Ordered(KlineBars(plan.timeframes, plan.max_fill), (KLINES,)),
        }
        return Chain(Intake(plan.lateness_ns, plan.sequenced), Either(bars), DRIVING)

    return staged("bars", stages, ["bars", plan.timeframes, plan.max_fill, sorted(plan.sequenced)], market)


def build(market: Frames, plan: Plan) -> Frames:
    """From all that the sources give to all that the sinks get."""
    bars = enter(market, plan)
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
    rates = (pick("rates", bars, RATES),) if plan.funding else ()
    taken = Signals(plan.signals, plan.funding).streams
    signals = keyed("signals", Signals, (plan.signals, plan.funding), taken, confluence, *rates)
    return omit("results", merge("all", bars, *features.values(), confluence, signals), "votes", RATES)
