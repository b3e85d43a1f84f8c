"""Parquet files, as `datasets`, pandas and the Hub write them."""

from collections.abc import Iterator
from pathlib import Path

from dialsum_trl.core.errors import InputError
from dialsum_trl.data.formats.row import Row

_ROWS = 256  # in memory at a time


def parquet_rows(path: Path) -> Iterator[Row]:
    """Rows with their types; the index that pandas stores is left out."""
    from pyarrow import ArrowException  # `check` and `score` of text files do without
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        with ParquetFile(path) as file:
            for batch in file.iter_batches(_ROWS):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(number, 0, {name: v for name, v in values.items() if not name.startswith("__index_")})
    except (ArrowException, OSError) as error:
        raise InputError(f"{path}: a damaged Parquet file ({str(error).splitlines()[0]}); export it again") from None
