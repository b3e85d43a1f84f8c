"""What pyproject.toml cannot say: the wheel carries the recipes, for `dialsum recipes copy` without a clone."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
SHIPPED = ("recipes", "accelerate_configs", "toy/story.py")


class BuildWithRecipes(build_py):
    """Copies SHIPPED into `dialsum_trl/shipped` of a wheel; an editable install finds them in the clone."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        folder = Path(self.build_lib) / "dialsum_trl" / "shipped"
        shutil.rmtree(folder, ignore_errors=True)
        for name in SHIPPED:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(ROOT / name, target)


setup(cmdclass={"build_py": BuildWithRecipes})
