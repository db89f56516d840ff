"""The flow as a picture, drawn from the flow itself."""

from __future__ import annotations

from bytewax.dataflow import Dataflow
from bytewax.operators import input as source
from bytewax.operators import output
from bytewax.testing import TestingSink, TestingSource
from bytewax.visualize import to_mermaid

from config import Settings
from flows.graph import build
from flows.plan import Plan


def mermaid(settings: Settings) -> str:
    """The graph of these settings as a Mermaid diagram."""
    flow = Dataflow("tidewax")
    output("sinks", build(source("sources", flow, TestingSource([])), Plan(settings)), TestingSink([]))
    return str(to_mermaid(flow)).replace('-- "down → up" -->', "-->")
