"""Where models come from: a name -> local files. Embedded, folder, archive, Hugging Face. Looks into none of them."""

from darius.hub.cache import cache_root
from darius.hub.names import ModelRef, parse
from darius.hub.resolving import Assets, ResolvedModel, resolve
from darius.hub.stock import v1_parts

__all__ = ["Assets", "ModelRef", "ResolvedModel", "cache_root", "parse", "resolve", "v1_parts"]
