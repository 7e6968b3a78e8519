"""Where measurements and records rest: `series/` in ClickHouse (in process or a server), `records/` in Postgres."""
