"""Which preset an instrument has, and who votes for it, by its streams: file 05 section 1."""

from __future__ import annotations

import pytest

from config import load
from config.settings import PRESETS
from events.errors import SettingsError
from flows.plan import Plan
from flows.voters import is_applicable
from operators.microstructure.scores import MICRO_SCORES

SPOT, OTHER, PERPETUAL = "x:A/USD", "x:B/USD", "x:A/USD:USD"
UNLINKED = "it is a spot market without the streams of a perpetual (indicators.sentiment.link names one)"
BOTH = frozenset({"trades", "book", "funding"})


def plan(feeds, instruments=(SPOT,), lacking=None, **sections):
    return Plan(load(None, sections), feeds=frozenset(feeds), instruments=instruments, lacking=lacking)


@pytest.mark.parametrize(
    ("feeds", "preset"),
    [
        ({"trades"}, "price6"),
        ({"trades", "funding"}, "price6"),
        ({"trades", "book"}, "price6"),
        ({"trades", "book", "context", "ticker"}, "price6"),
        ({"trades", "top", "funding"}, "price6"),
        *(({"trades", "book", name}, "full9") for name in ("funding", "open_interest", "long_short", "liquidations")),
        ({"klines.1m"}, "bars3"),
        ({"klines.1m", "book", "funding"}, "bars3"),
    ],
)
def test_the_preset_follows_from_the_streams(feeds, preset):
    assert plan(feeds).electorate.preset_of(SPOT) == preset
    assert plan(feeds, confluence={"preset": "core6"}).electorate.preset_of(SPOT) == "core6"


def test_one_name_where_all_instruments_come_to_it_and_a_map_where_not():
    same = plan(BOTH, (SPOT, OTHER), {SPOT: frozenset({"book"}), OTHER: frozenset({"funding"})})
    assert same.settings.confluence.preset == "price6"
    assert same.analysis_hash == plan({"trades"}, (SPOT, OTHER)).analysis_hash
    apart = plan(BOTH, (SPOT, OTHER), {OTHER: frozenset({"funding"})})
    assert apart.settings.confluence.preset == {SPOT: "full9", OTHER: "price6"}
    assert apart.tree["confluence"]["preset"] == {SPOT: "full9", OTHER: "price6"}
    assert apart.analysis_hash not in (same.analysis_hash, plan(BOTH).analysis_hash)
    named = plan(BOTH, (SPOT, OTHER), confluence={"preset": {SPOT: "full9", OTHER: "price6"}})
    assert named.analysis_hash == apart.analysis_hash


def test_a_preset_by_instrument_decides_for_those_it_names():
    some = plan(BOTH, (SPOT, OTHER), confluence={"preset": {OTHER: "bars3"}})
    assert (some.electorate.preset_of(SPOT), some.electorate.preset_of(OTHER)) == ("full9", "bars3")
    voters = some.confluence.instruments
    assert (voters[SPOT].theta_base, voters[OTHER].theta_base) == (12.0, 20.0)
    weights = dict(zip([name for name, _ in some.dimensions], voters[OTHER].weights))
    assert weights == dict.fromkeys(weights, 0.0) | PRESETS["bars3"]
    assert {"smart_money.sweep"} <= set(voters[OTHER].silent)
    with pytest.raises(SettingsError, match=r"confluence\.preset"):
        load(None, {"confluence": {"preset": {SPOT: "best"}}})
    with pytest.raises(SettingsError, match="Name a preset"):
        plan({"trades", "klines.1m"}, (SPOT, OTHER), confluence={"preset": {OTHER: "bars3"}})
    both = {SPOT: "price6", OTHER: "bars3"}
    assert (
        plan({"trades", "klines.1m"}, (SPOT, OTHER), confluence={"preset": both}).electorate.preset_of(SPOT) == "price6"
    )


def test_sentiment_is_of_derivatives_or_of_what_has_their_streams():
    fear = next(score for score in MICRO_SCORES if score.name == "fear_greed")
    basis = next(score for score in MICRO_SCORES if score.name == "basis")
    for score, streams, spot, expected in (
        (fear, {"trades", "context"}, True, False),
        (fear, {"trades", "context"}, False, True),
        (fear, {"trades", "context", "funding"}, True, True),
        (fear._replace(streams=()), {"trades"}, True, True),
        (basis, {"trades", "ticker"}, True, False),
        (basis, {"trades", "ticker"}, False, True),
        (basis, {"trades", "open_interest"}, False, False),
    ):
        assert is_applicable(score, streams, spot) == expected, (score.name, streams, spot)


def test_runs_of_trades_alone_are_as_they_were():
    bare = plan({"trades"})
    assert bare.beside == ()
    assert [name for name, _ in bare.dimensions] == ["volume", "structure", "technical"]
    assert bare.confluence.instruments[SPOT] == (bare.confluence.spot or ())
    assert bare.confluence.instruments[SPOT].gates == ()


def test_bitcoin_beta_is_of_those_that_are_compared_with_a_reference():
    reference = {"beta": {"reference": SPOT}, "confluence": {"preset": "full9"}}
    several = plan({"trades"}, (SPOT, OTHER, PERPETUAL), **reference)
    names = [name for name, _ in several.dimensions]
    weights = {
        key: several.confluence.voters_of(key).weights[names.index("bitcoin_beta")] for key in several.instruments
    }
    assert weights == {SPOT: 0.0, OTHER: 0.10, PERPETUAL: 0.10}
    assert several.confluence.voters_of("x:LATER/USD").weights[names.index("bitcoin_beta")] == 0.0
    assert several.electorate.why_not(SPOT, "bitcoin_beta") == "it is the reference"
    assert several.electorate.why_not(OTHER, "bitcoin_beta") is None
    alone = plan({"trades"}, (OTHER,), **reference)
    assert "bitcoin_beta" not in dict(alone.dimensions)
    assert alone.electorate.why_not(OTHER, "bitcoin_beta") == "there is no reference for it"


def test_a_stream_without_a_vote_or_a_gate_is_not_waited_for():
    def waited(feeds, **sections):
        return [stream.name for stream in plan(feeds, (SPOT, OTHER), **sections).electorate.joined]

    assert waited({"klines.1m", "funding"}) == [], "bars3 has no sentiment"
    assert waited({"klines.1m", "book"}) == ["micro"], "its gate judges"
    assert waited({"trades", "funding"}) == ["micro"]
    assert waited({"trades"}, beta={"reference": SPOT}) == [], "price6 has no bitcoin_beta"
    assert waited({"trades"}, beta={"reference": SPOT}, confluence={"preset": "core6"}) == ["beta"]


@pytest.mark.parametrize(
    ("feeds", "dimension", "why"),
    [
        ({"trades"}, "liquidity", "it has no book levels, no best quotes"),
        (
            {"trades", "book", "context"},
            "sentiment",
            UNLINKED,
        ),
        ({"trades", "book", "funding"}, "ml", "it is off"),
        ({"trades", "book", "funding"}, "sentiment", None),
        ({"trades", "top"}, "liquidity", None),
    ],
)
def test_what_is_not_applicable_says_why(feeds, dimension, why):
    assert plan(feeds).electorate.why_not(SPOT, dimension) == why


def test_a_spot_market_has_what_its_perpetual_lends():
    feeds = {"trades", "book", "funding", "ticker", "open_interest"}
    lacking = {SPOT: frozenset({"funding", "open_interest"}), PERPETUAL: frozenset({"open_interest"})}
    link = {"indicators": {"sentiment": {"link": {SPOT: PERPETUAL}}}}
    linked = plan(feeds, (SPOT, PERPETUAL), lacking, **link)
    assert linked.electorate.streams_of(SPOT) == {"trades", "book", "funding", "ticker"}
    assert linked.electorate.preset_of(SPOT) == "full9"
    assert linked.electorate.why_not(SPOT, "sentiment") is None
    assert dict(linked.micro.lacking) == {SPOT: ("open_interest",), PERPETUAL: ("open_interest",)}
    for unlinked in (plan(feeds, (SPOT, PERPETUAL), lacking), plan(feeds, (SPOT,), lacking, **link)):
        assert unlinked.links == {}
        assert "sentiment" in unlinked.electorate.why_not(SPOT, "sentiment")
    for wrong, said in (({PERPETUAL: SPOT}, "no spot market"), ({SPOT: OTHER}, "no perpetual")):
        with pytest.raises(SettingsError, match=said):
            load(None, {"indicators": {"sentiment": {"link": wrong}}})
