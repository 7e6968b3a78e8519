"""Series: one port (`port.py`), one SQL dialect, two places to keep them (`chdb_store.py`, `clickhouse_store.py`)."""
