"""Topics that nobody asked for: vocabularies as lenses on what a steered model writes."""
