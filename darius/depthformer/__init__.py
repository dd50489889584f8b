"""Depthformer: Magenta RealTime's language model. Tokens in, tokens out; it knows no audio and no files.

Import the modules themselves (`darius.depthformer.decode`, ...): this package stays empty so that it costs nothing.
"""
