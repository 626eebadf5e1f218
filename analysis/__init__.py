"""Parquet in, report out: the tables and figures of the paper beside its own numbers."""
