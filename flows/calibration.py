"""Reads the reliability table that `tidewax outcomes --calibrate` made and settings name."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from config import Settings
from config.calibration import table_bytes
from events.errors import SettingsError


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class _Bucket(_Part):
    strength: int = Field(ge=0, le=10)
    tercile: int = Field(ge=0, le=2)
    regime: str | None
    n_b: int = Field(ge=1)
    wins_b: int = Field(ge=0)
    p_b: float | None = Field(None, ge=0, le=1)


class _Table(_Part):
    table_v: Literal[1]
    made_by: dict[str, Any]
    ts_from: int
    ts_to: int
    n: int = Field(ge=1)
    wins: int = Field(ge=0)
    buckets: list[_Bucket]

    @model_validator(mode="after")
    def _adds_up(self) -> _Table:
        names = [(b.strength, b.tercile, b.regime) for b in self.buckets]
        if len(set(names)) < len(names):
            raise ValueError("a bucket is there twice")
        if self.wins > self.n or any(b.wins_b > b.n_b for b in self.buckets):
            raise ValueError("there are more wins than outcomes")
        return self


def read_table(settings: Settings) -> dict[str, Any] | None:
    """The reliability table of these settings as plain data, for `operators.reliability`; None where they name none.

    Raises:
        SettingsError: it cannot be read, is no such table, or has changed since the settings were loaded.
    """
    path, known = settings.signals.calibration, settings.signals.calibration_sha256
    if path is None:
        return None
    data, sha256 = table_bytes(path)
    if sha256 != known:
        raise SettingsError(f"signals: the reliability table {path} has changed since the settings were loaded")
    try:
        return _Table.model_validate_json(data).model_dump()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise SettingsError(
            f"signals: {path} is no reliability table of version 1: {f'{place}: ' if place else ''}{first['msg']}. Make one with "
            "tidewax outcomes RUN... --calibrate FILE"
        ) from None
