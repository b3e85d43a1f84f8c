"""What a case is, and how it is run: through the real entry point, with everything on disk compared afterwards."""

import hashlib
import runpy
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dialsum_trl.cli.app import main
from tests.conftest import ROOT, TINY

ROWS = (TINY / "data" / "dev.csv").read_text(encoding="utf-8")


@dataclass
class Place:
    """The folders of one case. `given` holds its inputs, `out` what an earlier run left; both must stay as they are."""

    given: Path
    out: Path
    toy: Path
    trained: Path

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.given / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def base(self) -> Path:
        """A copy of the toy base, to be damaged."""
        return Path(shutil.copytree(self.toy, self.given / "base"))

    def adapter(self, name: str = "adapter") -> Path:
        """A copy of an adapter trained on the toy base, to be damaged."""
        return Path(shutil.copytree(self.trained, self.given / name))


@dataclass(frozen=True)
class Case:
    """`command`: recipe or `dialsum` command and its flags, `{given} {out} {toy}` being folders. `make` writes the
    inputs: a function of the `Place`, or file name -> content. `says`: what the line holds (place and remedy)."""

    name: str
    command: str
    make: Callable[[Place], object] | dict[str, str | bytes]
    says: tuple[str, ...]

    def prepare(self, place: Place) -> None:
        place.write("test.csv", ROWS)
        earlier = place.out / "run"
        earlier.mkdir(parents=True)
        for name in ("submission.csv", "predictions.jsonl", "notes.txt"):
            (earlier / name).write_text(f"earlier {name}\n")
        if callable(self.make):
            self.make(place)
        else:
            for name, content in self.make.items():
                place.write(name, content)

    def words(self, place: Place) -> list[str]:
        folders = {"given": place.given, "out": place.out, "toy": place.toy}
        return [word.format(**folders) for word in self.command.split()]

    def program(self, place: Place) -> list[str]:
        """The command for a shell."""
        first, *rest = self.words(place)
        if (recipe := ROOT / "recipes" / f"{first}.py").exists():
            return [sys.executable, str(recipe), *rest]
        return [sys.executable, "-c", "from dialsum_trl.cli.app import main; main()", first, *rest]

    def run(self, place: Place, monkeypatch) -> int:
        """Runs the command in this process; returns its exit code."""
        first, *rest = self.words(place)
        recipe = ROOT / "recipes" / f"{first}.py"
        monkeypatch.setattr(sys, "argv", [str(recipe), *rest] if recipe.exists() else ["dialsum", first, *rest])
        try:
            if recipe.exists():
                runpy.run_path(str(recipe), run_name="__main__")
            else:
                main()
        except SystemExit as end:
            return end.code
        return 0


def snapshot(folder: Path) -> dict[str, str]:
    """Every path below `folder` with a hash of what is there."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path)] = f"link to {path.readlink()}"
        elif path.is_file():
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[str(path)] = "folder" if path.is_dir() else "special"
    return found
