"""The whole system on one screen. Every arrow is a stream of frames keyed by instrument.

market ─> intake and bars ─┬─> features, one step per timeframe ─┬─> confluence ─> signals and outcomes
                           ├─────────────────────────────────────┘                    │
                           └─ funding ────────────────────────────────────────────────┘
"""

from __future__ import annotations

from collections.abc import Collection

from events.feeds import BOOKS, CHECKS, DRIVING, FEEDS, KLINES, PRELOAD, RATES, TRADES
from events.records import ComponentStatus
from flows.plan import Plan
from operators.bars import Bars
from operators.chain import Beside, Chain, Either
from operators.confluence import ATR, Confluence
from operators.history import Features
from operators.intake import Intake
from operators.keyed import Frames, keyed, merge, omit, part, pick, staged
from operators.klines import KlineBars
from operators.microstructure.book import BOOK_MINUTES, BookMinutes
from operators.ordered import Ordered
from operators.preload import PreloadedBars
from operators.reconcile import Reconciliation
from operators.signals import Signals


def enter(market: Frames, plan: Plan) -> Frames:
    """All that the sources send, validated: trades or klines as bars, books as a row a minute, the rest as it is; with the gaps,
    dead letters and counts of the intake. Intake, bars and books share a step: every trade passes two of them, every update of a
    book too, which ends here. Books are driven by themselves, so trades that stall hold up none of their updates.
    """

    def stages() -> Chain:
        given = (plan.timeframes, plan.max_fill)
        traded: tuple[str, ...] = (TRADES, PRELOAD) if plan.preloaded else (TRADES,)
        bars = {
            traded: lambda: Ordered(PreloadedBars(*given) if plan.preloaded else Bars(*given), traded),
            (KLINES,): lambda: Ordered(KlineBars(*given), (KLINES,)),
        }
        intake, driving = Intake(plan.lateness_ns, plan.sequenced, plan.punctual), (*DRIVING, PRELOAD)
        if BOOKS not in plan.feeds:
            return Chain(intake, Either(bars), driving)
        books = Ordered(BookMinutes(plan.book), (BOOKS,))
        return Chain(intake, Beside({driving: Either(bars), (BOOKS,): books}), (*driving, BOOKS))

    order = [sorted(plan.sequenced), sorted(plan.punctual), plan.lateness_ns]
    identity = ["bars", plan.timeframes, plan.max_fill, *order, *["preload"] * plan.preloaded]
    if BOOKS in plan.feeds:
        identity.append(["book", *plan.book])
    return staged("bars", stages, identity, market)


def study(bars: Frames, plan: Plan, timeframes: Collection[str]) -> dict[str, Frames]:
    """The features of these timeframes, by timeframe."""
    return {
        name: keyed(
            f"features_{name}",
            Features,
            (name, length, plan.analysis),
            (f"bars.{name}",),
            pick(f"bars_{name}", bars, f"bars.{name}"),
        )
        for name, length in plan.timeframes
        if name in timeframes
    }


def watch(bars: Frames, plan: Plan) -> dict[str, Frames]:
    """What stands beside the features, by stream and timeframe."""
    return {}


def build(market: Frames, plan: Plan) -> Frames:
    """From all that the sources give to all that the sinks get."""
    bars = enter(market, plan)
    if CHECKS not in plan.feeds:
        return conclude(bars, plan)
    taken = (CHECKS, f"bars.{plan.timeframes[0][0]}")
    found = keyed("reconcile", Reconciliation, (plan.ticks,), taken, pick("checked", bars, *taken))
    return merge("reconciled", conclude(bars, plan), found)


def build_live(market: Frames, plan: Plan) -> Frames:
    """What `build` gives, and the states of components, which go past it: they are not of the market, and wait for nothing."""
    components, market = part("components", market, ComponentStatus.stream)
    return merge("told", build(market, plan), components)


def conclude(bars: Frames, plan: Plan, studied: bool = False) -> Frames:
    """From bars to all that the sinks get; where `studied`, the features come with the bars and are not computed again."""
    names = [name for name, _ in plan.timeframes]
    features = study(bars, plan, () if studied else names)
    beside = watch(bars, plan)
    base = f"bars.{names[0]}"
    given = (plan.confluence, plan.analysis, plan.rule, ATR, plan.beside)
    confluence = keyed(
        "confluence",
        Confluence,
        given,
        Confluence(*given).streams,
        pick("base", bars, base, *(f"features.{name}" for name in names if name not in features)),
        *(pick(f"features_{name}_rows", rows, f"features.{name}") for name, rows in features.items()),
        *(pick(f"{name.replace('.', '_')}_rows", rows, name) for name, rows in beside.items()),
    )
    rates = (pick("rates", bars, RATES),) if plan.funding else ()
    asked = (plan.signals, plan.funding, plan.preloaded)
    taken = Signals(*asked).streams
    scores = pick("scores", confluence, *taken)
    signals = keyed("signals", Signals, asked, taken, scores, *rates)
    return omit(
        "results",
        merge("all", bars, *features.values(), *beside.values(), confluence, signals),
        "votes",
        BOOK_MINUTES,
        *FEEDS,
    )
