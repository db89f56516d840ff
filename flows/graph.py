"""The whole system on one screen. Every arrow is a stream of frames keyed by instrument.

market ─> intake and bars ─┬─> features, one step per timeframe ──────────────┬─> confluence ─> signals and outcomes
                           ├─> microstructure, of books, quotes, derivatives ──┤                  │
                           ├─> bitcoin beta, by bars of the reference ─────────┤                  │
                           ├───────────────────────────────────────────────────┘                  │
                           ├─> all instruments together (key GLOBAL), a minute later ─────────────┤
                           └─ funding ────────────────────────────────────────────────────────────┘
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from events.feeds import BOOKS, CHECKS, DRIVING, FEEDS, KLINES, LENT, MEMBERS, PRELOAD, RATES, TICKERS, TOPS, TRADES
from events.records import ComponentStatus, DeadLetter
from events.times import MINUTE_NS
from flows.plan import Plan
from operators.bars import Bars
from operators.beta import PAIRS, Beta
from operators.broadcast import Relay, to_reference
from operators.chain import Beside, Chain, Either
from operators.confluence import ATR, Confluence
from operators.core import Core, Stage
from operators.history import Features
from operators.intake import Intake
from operators.keyed import Frames, home, keyed, merge, omit, part, pick, route, staged
from operators.klines import KlineBars
from operators.latest import Latest
from operators.linked import Lender, to_perpetuals, without_own
from operators.market import AVERAGE, EARLIER, MarketStage, to_market
from operators.microstructure.book import BOOK_MINUTES, BookMinutes
from operators.microstructure.derivatives import both_prices
from operators.microstructure.micro import Micro, micro_streams, needs_quotes
from operators.microstructure.quotes import QUOTE_MINUTES, QuoteMinutes
from operators.open_market import OpenMarket
from operators.open_relay import OpenRelay
from operators.ordered import Ordered
from operators.preload import PreloadedBars
from operators.reconcile import Reconciliation
from operators.signals import Signals

MINUTES = (BOOK_MINUTES, QUOTE_MINUTES)
"""What books and best quotes become; it goes to no sink."""


def enter(market: Frames, plan: Plan) -> Frames:
    """All that the sources send, validated: trades or klines as bars, books, best quotes and tickers as a row a minute, the rest as
    it is; with the gaps, dead letters and counts of the intake. All this shares a step: every trade passes two parts of it, every
    update of a book too, which ends here. What is reduced is driven by itself, so trades that stall hold up none of it.
    """

    def stages() -> Chain:
        given = (plan.timeframes, plan.max_fill)
        traded: tuple[str, ...] = (TRADES, PRELOAD) if plan.preloaded else (TRADES,)
        bars = {
            traded: lambda: Ordered(PreloadedBars(*given) if plan.preloaded else Bars(*given), traded),
            (KLINES,): lambda: Ordered(KlineBars(*given), (KLINES,)),
        }
        intake, driving = Intake(plan.lateness_ns, plan.sequenced, plan.punctual), (*DRIVING, PRELOAD)
        reduced = reducers(plan)
        if not reduced:
            return Chain(intake, Either(bars), driving)
        beside: dict[tuple[str, ...], Stage] = {(name,): Ordered(core, (name,)) for name, core in reduced.items()}
        return Chain(intake, Beside({driving: Either(bars), **beside}), (*driving, *reduced))

    order = [sorted(plan.sequenced), sorted(plan.punctual), plan.lateness_ns]
    identity = ["bars", plan.timeframes, plan.max_fill, *order, *["preload"] * plan.preloaded]
    if BOOKS in plan.feeds:
        identity.append(["book", *plan.book])
    identity += [name for name in reducers(plan) if name != BOOKS]
    if MEMBERS not in plan.feeds:
        return staged("bars", stages, identity, market)
    members, market = part("members", market, MEMBERS)  # of no instrument, and of this program's own making
    return merge("entered", staged("bars", stages, identity, market), members)


def reducers(plan: Plan) -> dict[str, Core]:
    """What makes a row a minute of streams of any rate, by stream."""
    base_ns, out = plan.timeframes[0][1], dict[str, Core]()
    if BOOKS in plan.feeds:
        out[BOOKS] = BookMinutes(plan.book)
    if needs_quotes(plan.micro):
        out[TOPS] = QuoteMinutes(base_ns)
    if TICKERS in plan.feeds:
        out[TICKERS] = Latest(TICKERS, base_ns, both_prices)
    return out


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
    """Microstructure, by stream and timeframe."""
    lengths, found = dict(plan.timeframes), dict[str, Frames]()
    bars = lend(bars, plan) if plan.links else bars
    for name in (name for stream in plan.beside if stream.name == "micro" for name in stream.timeframes):
        taken = micro_streams(name, lengths[name], plan.micro)
        rows = pick(f"micro_{name}_of", bars, *taken)
        found[f"micro.{name}"] = keyed(f"micro_{name}", Micro, (name, lengths[name], plan.micro), taken, rows)
    return found


def lend(bars: Frames, plan: Plan) -> Frames:
    """All that microstructure takes, spot markets with what linked perpetuals lend them."""
    links, base = plan.links, f"bars.{plan.timeframes[0][0]}"
    members = {perpetual: [spot for spot in links if links[spot] == perpetual] for perpetual in links.values()}
    given = (members, [name for name in LENT if name in plan.feeds], base)
    heard = route("to_perpetuals", bars, to_perpetuals(links, base))
    lent = home("to_spot", staged("lend", lambda: Lender(*given), ["lend", *given], heard))
    return merge("lent", route("without_own", bars, without_own(links)), lent)


def relate(bars: Frames, plan: Plan) -> Frames | None:
    """The closes of the reference, for each instrument that is compared with it; None where there is none to compare with."""
    if not plan.cross.followers:
        return None
    reference, lengths = plan.settings.beta.reference, dict(plan.timeframes)
    names = list(lengths)
    heard = route("to_reference", bars, to_reference(reference, names, plan.cross.open))
    members = plan.cross.named, plan.cross.likes
    identity = ["reference", reference, names, *members * plan.cross.open]
    relay = staged(
        "reference",
        lambda: (
            OpenRelay(reference, lengths, *members) if plan.cross.open else Relay(reference, plan.cross.named, names)
        ),
        identity,
        heard,
    )
    return home("to_followers", relay)


def compare(bars: Frames, told: Frames | None, plan: Plan) -> dict[str, Frames]:
    """How each instrument moves with the reference, of which it is told the closes, by stream and timeframe."""
    if told is None or not plan.cross.followers:
        return {}
    return {
        f"beta.{name}": keyed(
            f"beta_{name}",
            Beta,
            (name, length, PAIRS.get(length, PAIRS[MINUTE_NS])),
            (f"bars.{name}", f"reference.{name}"),
            pick(f"beta_bars_{name}", bars, f"bars.{name}"),
            pick(f"beta_reference_{name}", told, f"reference.{name}"),
        )
        for name, length in plan.timeframes
    }


def gather(bars: Frames, features: Iterable[Frames], plan: Plan) -> Frames | None:
    """The figures of all instruments together, under the key GLOBAL, and what each instrument gets of them; None of too few."""
    if not plan.cross.compared:
        return None
    column = plan.analysis.index[AVERAGE] if plan.cross.averaged else None
    heard = route("to_market", merge("market_in", bars, *features), to_market(column))
    reference, named = plan.settings.beta.reference, tuple(sorted(plan.cross.named))
    identity = ["together", named, reference, plan.cross.averaged, *plan.cross.likes * plan.cross.open]
    together = staged(
        "together",
        lambda: (
            OpenMarket(named, plan.cross.likes, reference, plan.cross.averaged)
            if plan.cross.open
            else MarketStage(named, reference, plan.cross.averaged)
        ),
        identity,
        heard,
    )
    return home("from_market", together)


def build(market: Frames, plan: Plan) -> Frames:
    """From all that the sources give to all that the sinks get. What `build_market` makes elsewhere of the bars of all instruments
    comes with what sources give, and goes past the intake.
    """
    told = None
    if plan.cross.where == "apart":
        told, market = part("cross", market, *plan.cross.told)
    bars = enter(market, plan)
    if CHECKS not in plan.feeds:
        return conclude(bars, plan, told=told)
    taken = (CHECKS, f"bars.{plan.timeframes[0][0]}")
    found = keyed("reconcile", Reconciliation, (plan.ticks,), taken, pick("checked", bars, *taken))
    return merge("reconciled", conclude(bars, plan, told=told), found)


def build_live(market: Frames, plan: Plan) -> Frames:
    """What `build` gives, and what goes past it, as it is not of the market and waits for nothing: the states of components, and
    what a source itself could not read.
    """
    components, market = part("components", market, ComponentStatus.stream, DeadLetter.stream)
    return merge("told", build(market, plan), components)


def build_market(results: Frames, plan: Plan) -> Frames:
    """From the bars and features that graphs over some instruments each have made, to what these are told of each other: closes of
    the reference and the figures of all together, under their keys, and those figures under GLOBAL. What `conclude` makes of it
    is the same as in a graph over all of them. What is not of the market goes past it, as in `build_live`.
    """
    components, results = part("components", results, ComponentStatus.stream, DeadLetter.stream)
    made = [frames for frames in (relate(results, plan), gather(results, (), plan)) if frames is not None]
    return merge("across", *made, components)


def conclude(bars: Frames, plan: Plan, studied: bool = False, told: Frames | None = None) -> Frames:
    """From bars to all that the sinks get.

    Args:
        bars: and all else that `enter` gives.
        plan: the parameters.
        studied: whether the features come with the bars and are not computed again.
        told: what instruments are told of others, if not computed here.
    """
    names = [name for name, _ in plan.timeframes]
    features = study(bars, plan, () if studied else names)
    here = plan.cross.where == "here"
    beside = watch(bars, plan) | compare(bars, relate(bars, plan) if here else told, plan)
    base = f"bars.{names[0]}"
    given = (plan.confluence, plan.analysis, plan.rule, ATR, plan.electorate.joined)
    waited = Confluence(*given).streams
    confluence = keyed(
        "confluence",
        Confluence,
        given,
        waited,
        pick("base", bars, base, *(f"features.{name}" for name in names if name not in features)),
        *(pick(f"features_{name}_rows", rows, f"features.{name}") for name, rows in features.items()),
        *(pick(f"{name.replace('.', '_')}_rows", rows, name) for name, rows in beside.items() if name in waited),
    )
    rates = (pick("rates", bars, RATES),) if plan.funding else ()
    together = gather(bars, features.values(), plan) if here else None
    asked = (plan.signals, plan.funding, plan.preloaded, plan.cross.compared)
    taken = Signals(*asked).streams
    scores = pick("scores", confluence, *taken)
    market = together if here else told
    earlier = (pick("market_rows", market, EARLIER),) if market is not None and plan.cross.compared else ()
    signals = keyed("signals", Signals, asked, taken, scores, *rates, *earlier)
    shown = () if together is None else (together,)
    made = merge("all", bars, *features.values(), *beside.values(), confluence, *shown, signals)
    return omit("results", made, "votes", EARLIER, *MINUTES, *FEEDS)
