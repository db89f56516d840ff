"""The base of all sections of settings."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values are checked, nothing changes afterwards.

    A validator that finds several faults puts each on a line of its one ValueError, and names settings by dotted path.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)
