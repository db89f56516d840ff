"""What flows through the graph: row types, records, frames, identities and codecs. Imports nothing of the project."""
