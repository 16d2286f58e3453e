"""Whoever is not there hears how a run ended: messages, a ping, metrics."""
