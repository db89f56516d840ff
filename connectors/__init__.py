"""All that touches the outside world: sources, sinks and files."""
