"""What is raised for messages that cannot be read."""


class Undecodable(ValueError):
    """A message cannot be read; the text says why, and begins with "it"."""
