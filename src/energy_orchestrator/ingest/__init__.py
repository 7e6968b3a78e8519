"""From the bus, endpoints and logs to validated batches: adapters (`*_bus`), pure checks, dead letters, scrapers."""
