"""The reference pages are those that the code makes."""

from __future__ import annotations

import pytest
from commands import ROOT

from flows.reference import pages


@pytest.mark.parametrize("name", list(pages()))
def test_a_reference_page_is_made_from_the_code(name):
    assert (ROOT / "docs" / name).read_text("utf-8") == pages()[name], "python -m flows.reference docs"
