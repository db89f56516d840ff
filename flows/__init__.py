"""The one graph, what gives it sources and sinks, and the command line."""
