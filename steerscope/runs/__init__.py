"""Numbers on disk: runs, seals, whole files, tables, provenance."""
