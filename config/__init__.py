"""Settings: one typed tree, read from YAML, the environment and arguments; unknown keys are refused."""

from config.calibration import with_table
from config.grid import Point, grid
from config.loader import Resolved, load, profile_names, resolve
from config.settings import Settings
from config.shape import Secret

__all__ = ["Point", "Resolved", "Secret", "Settings", "grid", "load", "profile_names", "resolve", "with_table"]
