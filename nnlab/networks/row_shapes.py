"""Shapes of a row, and how models read them: as features, as a series or as an image."""

from __future__ import annotations

from typing import TypeAlias

from nnlab.core.errors import UsageError
from nnlab.core.spelling import mention, spell_value

RowShape: TypeAlias = tuple[int, ...]  # (features,), (channels, steps) or (channels, height, width)


def series_shape(row: RowShape, *, model: str) -> tuple[int, int]:
    """(channels, steps) of a row that `model` reads as a series; a row of features is a series of one channel.

    Raises:
        UsageError: the row is an image.
    """
    if len(row) > 2:
        raise UsageError(
            f"{mention('model', model)} reads series, (steps,) or (channels, steps), and a row of these data has shape"
            f" {spell_value(row)}; conv2d and lenet take images."
        )
    return (1, row[0]) if len(row) == 1 else (row[0], row[1])


def image_shape(row: RowShape, *, model: str) -> tuple[int, int, int]:
    """(channels, height, width) of a row that `model` reads as an image.

    Raises:
        UsageError: the row is something else.
    """
    if len(row) != 3:
        raise UsageError(
            f"{mention('model', model)} looks at images of (channels, height, width), and a row of these data has shape"
            f" {spell_value(row)}. {mention('data', 'digits:image=true')} and {mention('data', 'mnist5k')} have images;"
            " conv1d takes series."
        )
    channels, height, width = row
    return channels, height, width
