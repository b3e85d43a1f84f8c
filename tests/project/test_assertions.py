"""Every test can fail: it asserts, expects an error, or calls a helper that does."""

import ast
from dataclasses import dataclass

import pytest

from tests.conftest import ROOT

CHECKS = {"raises", "warns", "fail", "assert_close", "assert_allclose"}


@dataclass(frozen=True)
class Function:
    """What a function of the tests asserts, and what it calls."""

    where: str
    name: str
    asserted: list[ast.expr]
    calls: set[str]

    @classmethod
    def of(cls, where: str, node: ast.FunctionDef) -> "Function":
        parts = list(ast.walk(node))
        called = [part.func for part in parts if isinstance(part, ast.Call)]
        calls = {call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in called}
        return cls(where, node.name, [part.test for part in parts if isinstance(part, ast.Assert)], calls)

    def can_fail(self, helpers: set[str]) -> bool:
        """Whether it asserts itself, expects an error or a warning, or calls one of `helpers`."""
        return bool(self.asserted or self.calls & (CHECKS | helpers))


FUNCTIONS = [
    Function.of(f"{path.name}: {node.name}", node)
    for path in sorted((ROOT / "tests").rglob("*.py"))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    if isinstance(node, ast.FunctionDef)
]
TESTS = [function for function in FUNCTIONS if function.name.startswith("test_")]


def asserting_helpers() -> set[str]:
    """Names of functions of the tests, and of the code that checks and raises, by which a test can fail."""
    helpers: set[str] = set()
    while True:
        found = {f.name for f in FUNCTIONS if not f.name.startswith("test_") and f.can_fail(helpers)}
        if found <= helpers:
            return helpers
        helpers |= found


def test_the_tests_are_found():
    assert len(TESTS) > 700


def test_no_test_is_without_an_assertion():
    helpers = asserting_helpers()
    assert [test.where for test in TESTS if not test.can_fail(helpers)] == []


def test_no_test_asserts_a_constant():
    assert [f.where for f in TESTS if any(isinstance(each, ast.Constant | ast.Tuple) for each in f.asserted)] == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("pass", False),
        ("run()", False),
        ("assert run()", True),
        ("with pytest.raises(E): run()", True),
        ("check()", True),
    ],
)
def test_the_rule_tells_tests_that_can_fail_from_those_that_cannot(code, expected):
    function = Function.of("x", ast.parse(f"def test_x():\n    {code}").body[0])
    assert function.can_fail({"check"}) is expected
