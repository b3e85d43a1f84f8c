"""What `make setup` installs: one list of versions, the same list with hashes, and nothing besides."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

UNHASHED = {"torch"}  # its builds differ by machine; the Makefile pins its version


def versions(name: str) -> dict[str, str]:
    """Package -> exact version of a file of pins."""
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\\n]+)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
    assert pins
    return {canonicalize_name(package): version for package, version in pins}


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def declared() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"]
    return [Requirement(line) for line in (*PROJECT["dependencies"], *extras["dev"], *extras["deepspeed"])]


def test_the_lock_holds_the_versions_of_the_constraints():
    constraints = versions("constraints.txt")
    assert constraints.keys() >= UNHASHED
    assert versions("requirements.lock") == {name: v for name, v in constraints.items() if name not in UNHASHED}


def test_the_build_tools_are_those_of_the_lock():
    tools = versions("requirements-build.lock")
    assert tools.keys() == {"setuptools", "wheel"}
    assert tools.items() <= versions("requirements.lock").items()


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-build.lock"])
def test_every_package_of_a_lock_has_a_hash_and_comes_from_no_address(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    blocks = re.split(r"^(?=[A-Za-z0-9])", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE), flags=re.MULTILINE)
    blocks = [block for block in blocks if block.strip()]
    assert len(blocks) == len(versions(name))
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}\b", block) for block in blocks)
    assert "://" not in text and " @ " not in text


def test_no_package_of_a_gpu_is_locked_since_its_build_follows_torch():
    assert not [name for name in versions("requirements.lock") if name.startswith(("nvidia", "torch"))]


def test_every_declared_dependency_is_pinned_within_its_bounds():
    pinned = versions("constraints.txt")
    for requirement in declared():
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement} is pinned to {version}"


def test_make_installs_with_hashes_and_asks_for_the_pinned_torch():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "--require-hashes --no-deps" in makefile
    installs = [line for line in makefile.splitlines() if "pip) install" in line or "pip install" in line]
    unhashed = [line for line in installs if "--require-hashes" not in line and ".venv-tools" not in line]
    assert [line for line in unhashed if "--no-deps" not in line] == [
        f'\t$(BIN)/pip install --quiet --constraint constraints.txt "torch=={versions("constraints.txt")["torch"]}"'
    ]


def test_make_asks_for_the_pythons_that_the_package_does():
    bounds = SpecifierSet(PROJECT["requires-python"])
    low, high = re.search(
        r"\((\d+, \d+)\) <= sys.version_info < \((\d+, \d+)\)", (ROOT / "Makefile").read_text(encoding="utf-8")
    ).groups()
    low, high = low.replace(", ", "."), high.replace(", ", ".")
    assert bounds == SpecifierSet(f">={low},<{high}")
