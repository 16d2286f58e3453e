"""The evidence: records appended durably, read back, folded to totals, and proved."""
