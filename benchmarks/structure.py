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
"""

import argparse
import ast
import contextlib
import io
import subprocess
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

from benchmarks.graphs import circles, levels, upward
from benchmarks.record import write_json
from benchmarks.source_tree import FUNCTIONS, OUTSIDE, PACKAGE, Source, unit

ROOT = Path(__file__).resolve().parents[1]
BEFORE = "45c1ef1"  # the last commit whose modules lay flat at the root


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
