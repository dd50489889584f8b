#!/bin/sh
# Fetches the CC0 one-shots (34 MB) into runs/tiny/sounds. Run from the repository root; needs npm. Optional.
set -eu
mkdir -p runs/tiny/sounds
cd runs/tiny/sounds
npm pack supersonic-scsynth-samples@0.84.2
tar xzf supersonic-scsynth-samples-0.84.2.tgz
