"""The structure of the source: levels, circles, imports in functions, class depth, lines. Nothing is imported or run.

    python -m benchmarks.structure                # the working tree beside the commit before the layers
    python -m benchmarks.structure --commit REV   # another commit beside it

How each figure is counted:

- **own import**: one name that a file of the package imports from the package, recipes, toy or benchmarks;
  `from dialsum_trl.core import files, lock` are two. **In a function**: anywhere inside a `def`. Of all imports, those
  of libraries too, statements are counted.
- **unit**: a folder or a module at the root of the package; recipes, toy and benchmarks are one unit each.
- **upward**: own imports that must be removed so that the units form levels, as few as a local search finds. If
  pyproject.toml has a layers contract, those that it forbids instead.
- **levels**: units on the longest path of imports that is left without the upward ones.
- **knot, circle**: units, or files, that all reach one another through imports (strongly connected, two or more).
- **own classes of a trainer**: classes of the package among a trainer's bases, their bases and so on.
- **function length**: lines from `def` to the last, with docstring; nested functions and methods count too.
- **lines**: of .py files, with docstrings, comments and blank ones.
- **raise density**: lines of the package per `raise`.
- **annotated**: parameters with a type, of functions and methods whose name has no leading underscore, without self.
"""

import argparse
import ast
import contextlib
import io
import random
import subprocess
import tarfile
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean

from benchmarks.record import write_json

ROOT = Path(__file__).resolve().parents[1]
BEFORE = "45c1ef1"  # the last commit whose modules lay flat at the root
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


def circles(graph: Counter) -> list[list[str]]:
    """Sets of nodes that all reach one another, largest first."""
    nodes = {node for pair in graph for node in pair}
    after = {node: reached(graph, node) for node in nodes}
    found = {frozenset(other for other in after[node] if node in after[other]) for node in nodes if node in after[node]}
    return sorted((sorted(each) for each in found), key=lambda each: (-len(each), each))


def reached(graph: Counter, start: str) -> set[str]:
    targets: dict[str, list[str]] = {}
    for source, target in graph:
        targets.setdefault(source, []).append(target)
    seen, todo = set(), list(targets.get(start, []))
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo += targets.get(node, [])
    return seen


def upward(graph: Counter, layers: list[set[str]] | None) -> Counter:
    """The part of a graph of units that does not run down: by layers, or what a good order of each knot leaves."""
    if layers is None:
        orders = [{name: place for place, name in enumerate(best_order(graph, knot))} for knot in circles(graph)]
        return Counter({pair: n for pair, n in graph.items() for order in orders if not downward(order, *pair, True)})
    order = {name: place for place, layer in enumerate(layers) for name in layer}
    inside = {pair: n for pair, n in graph.items() if pair[0] not in OUTSIDE or pair[1] not in OUTSIDE}
    return Counter({pair: n for pair, n in inside.items() if not downward(order, *pair, False)})


def downward(order: dict[str, int], source: str, target: str, otherwise: bool) -> bool:
    return order[source] < order[target] if source in order and target in order else otherwise


def best_order(graph: Counter, knot: list[str], starts: int = 20) -> list[str]:
    """The units of a knot from the highest down, so that few names are imported upwards: each unit is moved to its best
    place until nothing changes, from several orders drawn with fixed seeds."""

    def cost(order: list[str]) -> int:
        place = {name: at for at, name in enumerate(order)}
        return sum(n for (source, target), n in edges if place[source] > place[target])

    edges = [(pair, n) for pair, n in graph.items() if set(pair) <= set(knot)]
    best = knot
    for seed in range(starts):
        order, before = random.Random(seed).sample(knot, len(knot)), None
        while before != order:
            before = order
            for name in knot:
                order = moved(graph, order, name)
        best = min(best, order, key=cost)
    return best


def moved(graph: Counter, order: list[str], name: str) -> list[str]:
    """The order with one unit where the fewest names run upwards to it or from it."""
    others = [other for other in order if other != name]
    costs = [sum(graph[other, name] for other in others)]
    for other in others:
        costs.append(costs[-1] + graph[name, other] - graph[other, name])
    here = order.index(name)
    place = here if costs[here] == min(costs) else costs.index(min(costs))
    return [*others[:place], name, *others[place:]]


def levels(graph: Counter) -> int:
    """Nodes on the longest path of a graph without circles."""
    depth: dict[str, int] = {}

    def below(node: str) -> int:
        if node not in depth:
            depth[node] = 1 + max((below(target) for source, target in graph if source == node), default=0)
        return depth[node]

    return max(below(node) for pair in graph for node in pair)


def count_lines(root: Path, top: str) -> dict[str, int]:
    """Lines of the .py files by folder of `top`, all of a folder's subfolders in it."""
    lines: Counter = Counter()
    for path in sorted((root / top).rglob("*.py")):
        parts = path.relative_to(root / top).parts
        lines[parts[0] if len(parts) > 1 else "."] += len(path.read_text(encoding="utf-8").splitlines())
    return dict(lines)


def length(node: ast.AST) -> int:
    return node.end_lineno - node.lineno + 1


def stories(source: Source) -> dict[str, int]:
    """Lines of each `train_*` and of each job's `run`."""
    return {
        f"{module.name.removeprefix(f'{PACKAGE}.')}.{node.name}": length(node)
        for module in source.package.values()
        for node in module.tree.body
        if isinstance(node, FUNCTIONS)
        and (node.name.startswith("train_") or (node.name == "run" and ".stages.jobs." in module.name))
    }


def annotated(functions: list[ast.FunctionDef | ast.AsyncFunctionDef]) -> float:
    """Share of public parameters with a type."""
    public = [node.args for node in functions if not node.name.startswith("_")]
    parameters = [each for args in public for each in (*args.posonlyargs, *args.args, *args.kwonlyargs)]
    typed = [each.annotation is not None for each in parameters if each.arg not in ("self", "cls")]
    return mean(typed)


def share(part: int, whole: int) -> float:
    return round(part / whole, 3)


def figures(source: Source) -> dict:
    """All figures of a source, ready for JSON."""
    graph = source.unit_graph()
    up = upward(graph, source.layers())
    knots, file_circles = circles(graph), circles(source.file_graph())
    acyclic = graph if not knots else Counter({pair: n for pair, n in graph.items() if pair not in up})
    statements = [inside for module in source.package.values() for _, inside in module.statements]
    functions = [node for module in source.package.values() for node in module.functions]
    lengths = sorted(map(length, functions))
    longest = sorted(
        ((length(node), f"{name}.{node.name}") for name, module in source.package.items() for node in module.functions),
        reverse=True,
    )
    lines, tests = count_lines(source.root, PACKAGE), count_lines(source.root, "tests")
    raises = [node for each in source.package.values() for node in ast.walk(each.tree) if isinstance(node, ast.Raise)]
    return {
        "units": len({unit(name) for name in source.modules}),
        "levels": None if circles(acyclic) else levels(acyclic),
        "upward_imports": up.total(),
        "upward": sorted(f"{source} -> {target}" for source, target in up),
        "largest_knot": len(knots[0]) if knots else 0,
        "knots": knots,
        "circles_of_files": len(file_circles),
        "file_circles": file_circles,
        "own_imports": len(source.own_imports),
        "own_imports_in_functions": len(source.hidden()),
        "own_share_in_functions": share(len(source.hidden()), len(source.own_imports)),
        "all_share_in_functions": share(sum(statements), len(statements)),
        "in_functions": [f"{each.file}:{each.line} {each.target}  # {each.reason}" for each in source.hidden()],
        "own_classes": {name: len(classes) for name, classes in source.own_classes().items()},
        "mro": source.own_classes(),
        "package_lines": sum(lines.values()),
        "test_lines": sum(tests.values()),
        "lines": lines,
        "lines_of_tests": tests,
        "lines_outside": {top: sum(count_lines(source.root, top).values()) for top in OUTSIDE},
        "functions": len(functions),
        "function_mean": round(mean(lengths), 1),
        "function_p95": lengths[int(0.95 * len(lengths))],
        "longest_functions": {name: lines for lines, name in longest[:10]},
        "stories": stories(source),
        "lines_per_raise": round(sum(lines.values()) / len(raises), 1),
        "annotated": round(annotated(functions), 3),
    }


@contextlib.contextmanager
def tree_of(commit: str) -> Iterator[Path]:
    """A folder with the files of a commit."""
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True)
    if archive.returncode:
        raise SystemExit(f"error: {archive.stderr.decode().strip()}; a clone with its history has this commit")
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(folder, filter="data")
        yield Path(folder)


def described(*arguments: str) -> str:
    """A commit as `git describe` names it."""
    command = ["git", "describe", "--always", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()


def of_commit(commit: str) -> dict:
    with tree_of(commit) as folder:
        return {"commit": described(commit), **figures(Source(folder))}


def table(before: dict, after: dict) -> str:
    """Both columns as Markdown; lists are only in the JSON."""
    rows = [name for name, value in before.items() if name not in ("commit", "mro") and not isinstance(value, list)]
    lines = [f"| | before ({before['commit']}) | after ({after['commit']}) |", "|---|---|---|"]
    lines += [f"| {name.replace('_', ' ')} | {cell(before[name])} | {cell(after[name])} |" for name in rows]
    return "\n".join(lines)


def cell(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number:,}" for name, number in value.items())
    return "-" if value is None else f"{value:,}"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--commit", help="Figures of this commit; default: of the working tree.")
    commit = parser.parse_args(argv).commit
    before = of_commit(BEFORE)
    after = of_commit(commit) if commit else {"commit": described("--dirty"), **figures(Source(ROOT))}
    write_json("structure", {"before": before, "after": after})
    print(table(before, after))
    for line in after["in_functions"]:
        print(line)


if __name__ == "__main__":
    main()
