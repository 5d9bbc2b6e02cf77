"""The four files of MNIST, of Fashion-MNIST and of all that are stored like them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from deqzoo.data.examples import Split, TaskError
from deqzoo.data.idx import read_idx


def idx_splits(folder: Path, otherwise: str) -> tuple[Split, Split]:
    """Training and test examples: images (n, height, width, 1) and labels (n,), as stored.

    They are ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte``
    and ``t10k-labels-idx1-ubyte``, each as it is or, with ``.gz`` behind its name, gzipped; where
    there are both, the first is read.

    Args:
        folder: that holds the files.
        otherwise: what to do where one is missing, said in the error.

    Raises:
        TaskError: a file is missing or damaged, or images and labels do not belong together.
    """
    train, test = (_split(folder, part, otherwise) for part in ("train", "t10k"))
    return train, test


def _split(folder: Path, part: str, otherwise: str) -> Split:
    names = f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"
    files = [_file(folder, name, otherwise) for name in names]
    images, labels = map(read_idx, files)
    _require(files[0], images, images.ndim == 3, "images (n, height, width)")
    whole = labels.dtype.kind in "iu"
    _require(files[1], labels, labels.ndim == 1 and whole, "whole numbers (n,)")
    if len(images) != len(labels) or images.size == 0:
        raise TaskError(
            f"{files[0]} and {files[1].name} must hold as many images as labels, at least one of "
            f"at least a pixel, got the shapes {images.shape} and {labels.shape}"
        )
    return Split(images[..., None], labels)


def _file(folder: Path, name: str, otherwise: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if os.path.exists(path):
            return path
    raise TaskError(f"there is no {name} and no {name}.gz in {folder}: {otherwise}")


def _require(path: Path, array: np.ndarray, fits: bool, expected: str) -> None:
    if not fits:
        raise TaskError(f"{path} must hold {expected}, got {array.dtype}{array.shape}")
