"""The table of problems, and the problems that errors become."""

from typing import get_args

import pytest
from starlette.exceptions import HTTPException

from api.http.problems import PROBLEMS, ProblemCode, kind_of, refused


def test_every_code_has_its_entry() -> None:
    codes = [code for literal in get_args(ProblemCode) for code in get_args(literal)]
    assert sorted(PROBLEMS) == sorted(codes)
    assert kind_of("nonsense") is None


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (404, "not_found"),
        (405, "method_not_allowed"),
        (413, "too_large"),
        (400, "invalid_request"),
        (503, "internal_error"),
    ],
)
def test_an_error_of_the_framework_is_a_problem_of_its_status(status: int, code: str) -> None:
    problem = refused(HTTPException(status, headers={"Allow": "GET"}))
    assert problem
    assert (problem.code, problem.headers) == (code, {"Allow": "GET"})


def test_an_unexpected_error_is_a_defect() -> None:
    assert refused(RuntimeError("a defect")) is None
