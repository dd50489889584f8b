"""Generated grooves: seed -> 48 kHz stereo clip and the words for it."""
