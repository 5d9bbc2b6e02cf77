"""The stored images of handwritten digits, in train and test split.

``digits.npz`` holds the values of scikit-learn's copy, unchanged but for the dtype. It was written
in the root of the repository by

    python -c "import numpy as np, sklearn.datasets as s; d = s.load_digits(); np.savez_compressed(
    'deqzoo/data/digits.npz', x=d.images.astype('uint8'), y=d.target.astype('uint8'))"
"""

from __future__ import annotations

from importlib import resources

import numpy as np

from deqzoo.data.examples import Split

LICENCE = "CC BY 4.0"

_TRAIN = 1437  # 80 %


def handwritten() -> tuple[Split, Split]:
    """1,437 training and 360 test images (n, 8, 8, 1) of 0 ... 16, with the digits that they show.

    The order is shuffled by a fixed permutation.

    Example:
        >>> from deqzoo.data.handwritten import handwritten
        >>> [split.x.shape for split in handwritten()]
        [(1437, 8, 8, 1), (360, 8, 8, 1)]
    """
    file = resources.files("deqzoo.data").joinpath("digits.npz")
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        x, y = archive["x"][..., None], archive["y"]
    order = np.random.default_rng(0).permutation(len(x))
    train, test = (Split(x[rows], y[rows]) for rows in (order[:_TRAIN], order[_TRAIN:]))
    return train, test
