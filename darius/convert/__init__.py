"""One-time conversion of Magenta RealTime v1's TensorFlow files, in processes of their own."""

from darius.convert.v1 import convert_v1

__all__ = ["convert_v1"]
