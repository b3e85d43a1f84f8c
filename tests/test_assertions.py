"""Every test can fail: it asserts, expects an error, or calls a helper that does."""

import ast

import pytest

from tests.conftest import ROOT

FILES = sorted((ROOT / "tests").rglob("*.py"))


def trees() -> dict[str, ast.Module]:
    return {path.name: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def names_called(function) -> set[str]:
    calls = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
    return {call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in calls}


def can_fail(function, helpers: set[str]) -> bool:
    """Whether a function asserts itself, expects an error or a warning, or calls one of `helpers`."""
    asserts = any(isinstance(node, ast.Assert) for node in ast.walk(function))
    called = names_called(function)
    return asserts or bool(called & ({"raises", "warns", "fail", "assert_close", "assert_allclose"} | helpers))


def functions() -> list[tuple[str, ast.FunctionDef]]:
    return [
        (name, node) for name, tree in trees().items() for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
    ]


def asserting_helpers() -> set[str]:
    """Names of functions of the tests, and of the code that checks and raises, by which a test can fail."""
    helpers: set[str] = set()
    while True:
        found = {f.name for _, f in functions() if not f.name.startswith("test_") and can_fail(f, helpers)}
        if found <= helpers:
            return helpers
        helpers |= found


TESTS = [(name, function) for name, function in functions() if function.name.startswith("test_")]


def test_the_tests_are_found():
    assert len(TESTS) > 700


def test_no_test_is_without_an_assertion():
    helpers = asserting_helpers()
    empty = [f"{name}: {function.name}" for name, function in TESTS if not can_fail(function, helpers)]
    assert not empty


def test_no_test_asserts_a_constant():
    constant = [
        f"{name}: {function.name}"
        for name, function in TESTS
        for node in ast.walk(function)
        if isinstance(node, ast.Assert) and isinstance(node.test, ast.Constant | ast.Tuple)
    ]
    assert not constant


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
    function = ast.parse(f"def test_x():\n    {code}").body[0]
    assert can_fail(function, {"check"}) is expected
