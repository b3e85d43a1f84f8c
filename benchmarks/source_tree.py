"""Python files as `benchmarks.structure` counts them: parsed, never imported or run."""

import ast
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PACKAGE = "dialsum_trl"
OUTSIDE = ("recipes", "toy", "benchmarks")
CONTRACT = "Folders form layers"
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Import:
    """One name that a file imports from our own code."""

    file: str
    target: str
    line: int
    in_function: bool
    reason: str  # the comment beside it or above it


@dataclass(frozen=True)
class Module:
    name: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @cached_property
    def statements(self) -> list[tuple[ast.Import | ast.ImportFrom, bool]]:
        """Every import, and whether it is in a function."""

        def below(node: ast.AST, inside: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.Import | ast.ImportFrom):
                    yield child, inside
                yield from below(child, inside or isinstance(child, (*FUNCTIONS, ast.Lambda)))

        return list(below(self.tree, False))

    @cached_property
    def functions(self) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
        return [node for node in ast.walk(self.tree) if isinstance(node, FUNCTIONS)]

    def reason(self, node: ast.stmt) -> str:
        above = self.lines[node.lineno - 2].strip() if node.lineno > 1 else ""
        beside = [line.partition("#")[2] for line in self.lines[node.lineno - 1 : node.end_lineno]]
        parts = [above[1:] if above.startswith("#") else "", *beside]
        return " ".join(part.strip() for part in parts if part.strip())


class Source:
    """The Python files below a folder that holds the package, and what is counted in them."""

    def __init__(self, root: Path):
        self.root = root
        self.modules = {module.name: module for top in (PACKAGE, *OUTSIDE) for module in self._read(top)}
        self.package = {name: module for name, module in self.modules.items() if name.split(".")[0] == PACKAGE}

    def _read(self, top: str) -> Iterator[Module]:
        for path in sorted((self.root / top).rglob("*.py")):
            parts = path.relative_to(self.root).with_suffix("").parts
            yield Module(".".join(parts[:-1] if parts[-1] == "__init__" else parts), path.read_text(encoding="utf-8"))

    @cached_property
    def imports(self) -> list[Import]:
        found = []
        for module in self.modules.values():
            for node, inside in module.statements:
                for name in node.names:
                    base = node.module or "" if isinstance(node, ast.ImportFrom) else name.name
                    target = f"{base}.{name.name}" if f"{base}.{name.name}" in self.modules else base
                    if target.split(".")[0] in (PACKAGE, *OUTSIDE):
                        found.append(Import(module.name, target, node.lineno, inside, module.reason(node)))
        return found

    @cached_property
    def own_imports(self) -> list[Import]:
        return [each for each in self.imports if each.file in self.package]

    def hidden(self) -> list[Import]:
        """Own imports inside functions."""
        return [each for each in self.own_imports if each.in_function]

    def unit_graph(self) -> Counter:
        """`(unit, imported unit)` -> names imported."""
        pairs = ((unit(each.file), unit(each.target)) for each in self.imports)
        return Counter(pair for pair in pairs if pair[0] != pair[1])

    def file_graph(self) -> Counter:
        return Counter((each.file, each.target) for each in self.imports if each.file != each.target)

    def layers(self) -> list[set[str]] | None:
        """The layers of pyproject.toml as sets of units, highest first; None if there is no contract."""
        settings = tomllib.loads((self.root / "pyproject.toml").read_text(encoding="utf-8"))
        contracts = settings.get("tool", {}).get("importlinter", {}).get("contracts", [])
        layers = next((contract["layers"] for contract in contracts if contract["name"] == CONTRACT), None)
        if layers is None:
            return None
        return [set(OUTSIDE), {PACKAGE}, *({f"{PACKAGE}.{name.strip()}" for name in row.split("|")} for row in layers)]

    def own_classes(self) -> dict[str, list[str]]:
        """Trainer -> our classes among its ancestors, by name; a trainer descends from one of TRL or transformers."""
        bases = {}
        for module in self.package.values():
            classes = [node for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)]
            names = {node.name: f"{module.name}.{node.name}" for node in classes}
            for node, _ in module.statements:
                base = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
                names |= {name.asname or name.name: base + name.name for name in node.names if name.name not in names}
            for node in classes:
                bases[names[node.name]] = [dotted(base, names) for base in node.bases]

        def ancestors(name: str) -> set[str]:
            return {name}.union(*(ancestors(base) for base in bases.get(name, []) if base != name))

        used = {base for row in bases.values() for base in row}
        ancestors_of = {name: ancestors(name) for name in bases if name not in used}
        return {
            name.split(".")[-1]: sorted(each.split(".")[-1] for each in above & bases.keys() - {name})
            for name, above in sorted(ancestors_of.items())
            if any(each.endswith("Trainer") for each in above - bases.keys())
        }


def unit(module: str) -> str:
    top, _, rest = module.partition(".")
    return top if top != PACKAGE or not rest else f"{PACKAGE}.{rest.split('.')[0]}"


def dotted(node: ast.expr, names: dict[str, str]) -> str:
    """A base class as it is written, with what was imported written out."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value, names)}.{node.attr}"
    return dotted(node.value, names) if isinstance(node, ast.Subscript) else ast.unparse(node)
