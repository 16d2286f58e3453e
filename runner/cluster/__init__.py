"""Many machines: one rate and one truth in a PostgreSQL database. Behind the extra `[cluster]`."""
