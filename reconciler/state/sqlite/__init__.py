"""The state in one SQLite file: the one room that knows SQL."""
