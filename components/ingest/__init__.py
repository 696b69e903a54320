"""The component `ingest`."""
