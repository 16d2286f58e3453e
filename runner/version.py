"""The version of the program, for plan and audit, `--version` and the package."""

__all__ = ["__version__"]

__version__ = "1.0.0"
