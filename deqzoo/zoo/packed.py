"""An array as text of a card."""

from __future__ import annotations

import base64
import binascii
import math
import re
import zlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped

_LARGEST = 10**8  # bytes; more is no handful of examples


class PackedError(ValueError):
    """A text that is none of an array."""


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Its numbers, compressed, in base64.

    Attributes:
        dtype: of the array, with its byte order.
        shape: of the array.
        text: the bytes.
    """

    dtype: str
    shape: tuple[int, ...]
    text: str

    @classmethod
    def of(cls, array: Shaped[np.ndarray, ...]) -> Packed:
        """Pack it.

        Example:
            >>> import numpy as np
            >>> from deqzoo.zoo.packed import Packed
            >>> Packed.of(np.arange(3, dtype=np.uint8)).array()
            array([0, 1, 2], dtype=uint8)
        """
        text = base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 9)).decode()
        return cls(dtype=array.dtype.str, shape=array.shape, text=text)

    def array(self) -> Shaped[np.ndarray, ...]:
        """The array; no more is unpacked than the shape says.

        Raises:
            PackedError: the text is none of such an array.
        """
        if not re.fullmatch("[<>|][biuf][1248]", self.dtype) or min(self.shape, default=0) < 0:
            raise PackedError(f"{self.dtype!r} of shape {self.shape} is no array of numbers")
        dtype = np.dtype(self.dtype)
        size = math.prod(self.shape) * dtype.itemsize
        if size > _LARGEST:
            raise PackedError(f"an array of {size} bytes is no handful of examples")
        try:
            packed = base64.b64decode(self.text, validate=True)
            whole = zlib.decompressobj().decompress(packed, size + 1)
        except (binascii.Error, zlib.error) as error:
            raise PackedError(f"the bytes of an array are damaged ({error})") from None
        if len(whole) != size:
            raise PackedError(f"{size} bytes make an array of shape {self.shape}, got others")
        return np.frombuffer(whole, dtype).reshape(self.shape)
