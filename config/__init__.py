"""Settings: one typed tree, read from YAML profiles; unknown keys are refused."""

from config.loader import load, profile_names
from config.settings import Settings

__all__ = ["Settings", "load", "profile_names"]
