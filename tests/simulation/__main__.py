"""`python -m tests.simulation`: lives seeded histories; see `tests/simulation/histories.py`."""

import sys

from tests.simulation.histories import main

sys.exit(main())
