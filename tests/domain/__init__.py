"""The domain's tests; a failed sentence of the vocabulary explains itself like any other assertion."""

import pytest

pytest.register_assert_rewrite("tests.domain.vocabulary")
