"""The audio codec: waveform <-> RVQ codes at 25 frames a second. Knows neither bars nor language models.

Empty on purpose: import `darius.codec.codec` (needs JAX) or `darius.codec.config` (does not) where they are used.
"""
