"""The whole Python interface in a few lines: continue a loop by eight bars.

python examples/continue_loop.py examples/loops/loop_garzul.flac
"""

import sys

import darius

loop = sys.argv[1] if len(sys.argv) > 1 else "examples/loops/loop_garzul.flac"

model = darius.load("tiny")
music = model.continue_loop(loop, bars=8, seed=7)
music.save("continued.wav", overwrite=True)

print(f"{music.samples} samples at {music.waveforms[0].rate} Hz, {float(music.bpm):g} bpm,")
print(f"{music.real_time_factor:.1f}x real time -> continued.wav")
