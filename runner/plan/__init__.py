"""A job as numbered batches in a file: grouped, de-duplicated, cut, written and verified."""
