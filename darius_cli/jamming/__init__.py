"""The parts of `darius jam`: what was typed, where the music comes from, where it goes. None knows the others."""
