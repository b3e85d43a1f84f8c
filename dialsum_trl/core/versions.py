"""Versions of the packages that a result depends on."""

from dialsum_trl import __version__


def versions() -> dict[str, str]:
    """Versions of the packages a result depends on."""
    from importlib.metadata import version

    names = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "datasets")
    return {"dialsum-trl": __version__, **{name: version(name) for name in names}}
