"""`python -m runner` is `bulk-delete`."""

from runner.cli import main

if __name__ == "__main__":
    main()
