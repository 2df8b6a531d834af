"""The tests: of rooms, of contracts, of the installed command, of the house itself; and the world they all stand in.

No test module imports another: what two of them need is in `tests.world`, and a fixture is in a `conftest`.
"""

import pytest

# So that a failed assertion in a double shows its values, as one in a test does.
pytest.register_assert_rewrite("tests.world")
