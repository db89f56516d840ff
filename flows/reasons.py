"""Why a signal was made, in a line: for `tidewax explain`, and for signals as they come."""

from __future__ import annotations

from events.records import DimensionShare, Signal

_MOST = 3


def because(signal: Signal) -> str:
    """The three dimensions that moved the score most, in points, with their top features; the largest part first."""
    chosen = sorted(signal.components.items(), key=lambda item: -abs(item[1].contribution))[:_MOST]
    return "; ".join(
        f"{name} {share.contribution:+.1f} ({', '.join(f'{feature} {share.top[feature]:+.1f}' for feature in ranked(share))})"
        for name, share in chosen
    )


def ranked(share: DimensionShare) -> list[str]:
    """Its top features, the largest part first: stored JSON has them by name."""
    return sorted(share.top, key=lambda feature: (-abs(share.top[feature]), feature))


def price(value: float) -> str:
    """A price, or an amount of the quote, in up to eight digits."""
    return f"{value:.8g}"


def threshold(signal: Signal) -> str:
    """The edge that the score has reached: 50 and theta points.

    >>> from types import SimpleNamespace
    >>> threshold(SimpleNamespace(side="SHORT", theta=12.5))
    '<= 37.5'
    """
    return f">= {50 + signal.theta:.1f}" if signal.side == "LONG" else f"<= {50 - signal.theta:.1f}"
