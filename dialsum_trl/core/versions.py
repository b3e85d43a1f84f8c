"""The version of this package, and of those that a result depends on."""

from importlib.metadata import version

__version__ = "0.1.0"


def versions() -> dict[str, str]:
    """Versions of the packages a result depends on."""
    names = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "datasets")
    return {"dialsum-trl": __version__, **{name: version(name) for name in names}}
