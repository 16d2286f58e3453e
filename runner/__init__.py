"""Bulk deletion of phone numbers from a vendor's customer pool: plan, send, audit."""

__all__ = ["__version__"]

__version__ = "1.0.0"
