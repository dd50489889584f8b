"""One jam: an endless stream of music, cut on its bar lines, that can be steered while it plays. Knows no sockets.

Whoever drives it asks for `call()`, has the device advance it, and hands the result to `feed()`, until `cut()` gives a
chunk. What needs the device by itself (`start`, `settle`) is marked; the rest is numpy.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from darius import beneath, openings, session
from darius.audio.waveform import Samples, Waveform
from darius.beneath import Beneath
from darius.context import loop_codes, played_sound, sound_codes, whole_bars
from darius.engine import refuse_unsupported
from darius.errors import InvalidOption
from darius.jam import levels
from darius.jam.glide import Glide
from darius.jam.heard import HeardLoop
from darius.jam.resampling import StreamResampler
from darius.jam.settings import Chunk, Dials, JamSettings, KeyStroke
from darius.notes import Key, Keyboard
from darius.style.interface import Embedding
from darius.style.mix import StyleRequest, style_vector
from darius.tokens import Codes

if TYPE_CHECKING:
    from darius.batching import Advance
    from darius.engine import Model
    from darius.style.steering import Assets


class Jam:
    """A running jam. Made by `Jam.start`; one driver at a time calls it, but `update`, `play_keys`, `reseed` and
    `splice` may come from any thread at any time.

    Attributes:
      model: what plays it.
      settings: how it is cut.
      seed: 32 bits.
      dials: in force for the next call.
      frames_made: codec frames so far; the first stands on the downbeat.
      chunks_cut: how many chunks were handed out.
      gain: what the model's sound is multiplied with; None until the first chunk.
      stretch: seconds of the model per second of music; 1 off the frame grid.
    """

    def __init__(
        self,
        model: Model,
        settings: JamSettings,
        *,
        streams: session.Streams,
        style: Glide,
        request: StyleRequest,
        heard: HeardLoop | None,
        loop_embedding: Embedding | None,
        stretch: Fraction,
        dials: Dials,
        assets: Assets,
    ) -> None:
        self.model, self.settings, self.dials = model, settings, dials
        self.seed = int(streams.seed[0])
        self.frames_made = self.chunks_cut = 0
        self.gain: float | None = None
        self._streams, self._played = streams, streams.context[0]
        self._style, self._request, self._assets = style, request, assets
        self._reference = None if heard is None else heard.first_bar
        self._bars = None if heard is None else heard.bars
        self._beneath = None if heard is None else heard.beneath
        self._loop_embedding, self.stretch = loop_embedding, stretch
        self._keyboard, self._keys = Keyboard(), collections.deque[Key]()
        self._pending: collections.deque[Callable[[], None]] = collections.deque()
        codec = model.codec
        self._resampler = StreamResampler(
            codec.sample_rate * stretch,
            settings.rate,
            origin=codec.lookahead_frames * codec.frame_samples,
            channels=codec.channels,
        )
        self._made: list[Samples] = []  # the model's sound, not yet resampled
        self._sound = np.zeros((0, codec.channels), np.float32)  # at the settings' rate, not yet done with
        self._sound_start = 0  # its place in the jam

    @classmethod
    def start(
        cls,
        model: Model,
        settings: JamSettings,
        *,
        loop: Waveform | None = None,
        style: StyleRequest | None = None,
        dials: Dials | None = None,
        seed: int,
        assets: Assets | None = None,
    ) -> Jam:
        """A jam that goes on from the downbeat after the loop. Uses the device, for all but `prepare`.

        Args and errors as of `prepare`.
        """
        return cls.prepare(model, settings, loop=loop, style=style, dials=dials, seed=seed, assets=assets)()

    @classmethod
    def prepare(
        cls,
        model: Model,
        settings: JamSettings,
        *,
        loop: Waveform | None = None,
        style: StyleRequest | None = None,
        dials: Dials | None = None,
        seed: int,
        assets: Assets | None = None,
    ) -> Callable[[], Jam]:
        """What needs no device of beginning a jam; the call it returns does the rest, on the device.

        Args:
          loop: any rate; its whole bars are heard. None for 10 s of silence, or of an opening where the model has some.
          style: words and weights; the loop's own style alone if None.
          assets: instead of the model's own mean and centroids.

        Raises:
          BadAudio: nothing is in the loop.
          InvalidOption: a weight is out of range, or the model does not know a dial.
        """
        request, dials = style or StyleRequest(), dials or Dials()
        dials.check(model)
        assets = assets or model.assets
        heard = None if loop is None else HeardLoop.of(model, settings, loop, request)

        def begin() -> Jam:
            stretch, embedding = Fraction(1), None
            if heard is not None:
                stretch, context = heard.stretch, sound_codes(model, heard.sound)
                embedding = model.style.embed_audio(heard.bars)
            else:
                if settings.bpm is not None:
                    stretch = openings.grid_stretch(model, settings.bpm)
                context = openings.context(model, request, seed, bpm=settings.bpm, stretch=stretch)
            target = style_vector(request, model.style, loop=embedding, assets=assets)
            codes = None if target is None else model.style.tokenize(target)
            return cls(
                model,
                settings,
                streams=session.start(model, context, seed, dials.knobs(codes)),
                style=Glide(source=target, target=target),
                request=request,
                heard=heard,
                loop_embedding=embedding,
                stretch=stretch,
                dials=dials,
                assets=assets,
            )

        return begin

    # Making music.

    def frames_needed(self) -> int:
        """Codec frames that are missing for the next chunk; 0 if `cut` gives it."""
        heard = self._resampler
        if heard.produced >= self._wanted_until():
            return 0
        until = heard.origin + self._wanted_until() / heard.ratio + heard.lookahead
        missing = until - heard.taken - sum(len(samples) for samples in self._made)
        least = 0 if self._made else 1
        return max(least, -int(-missing // self.model.codec.frame_samples))

    def calls_needed(self) -> int:
        """Device calls of a whole chunk each that make `frames_needed`."""
        return -(-self.frames_needed() // self.model.chunk_frames)

    def call(self) -> tuple[session.Streams, session.Knobs]:
        """What the device is to advance next."""
        # Where the coming chunk ends: a new style is heard from the first chunk on.
        style = self._codes_of(self._style.at(self.frames_made + self.model.chunk_frames))
        while self._keys:
            self._keyboard = self._keyboard.play([self._keys.popleft()])
        return self._streams, self.dials.knobs(style, self._keyboard.roll(self.model.chunk_frames))

    def feed(self, made: Advance) -> None:
        """Takes in what the device made of the last `call`."""
        self._streams = made.streams
        self._played = np.concatenate([self._played, made.codes])[-self.model.memory_frames :]
        self.frames_made += len(made.codes)
        self._keyboard = self._keyboard.after(len(made.codes))
        self._made.append(made.samples)

    def cut(self) -> Chunk | None:
        """The next chunk, exactly from its first sample to the next chunk's; None while frames are missing."""
        if self.frames_needed():
            return None
        self._resample()
        settings, index = self.settings, self.chunks_cut
        start, stop = settings.chunk_start(index), settings.chunk_start(index + 1)
        if self.gain is None:
            self.gain = self._first_gain(stop)
        first, side = start - settings.overlap, levels.pad(settings.rate)
        window = self._between(first - side, stop + side)
        sound = levels.levelled(window, settings.rate, self.gain, settings.loudness, settings.ceiling)
        self.chunks_cut += 1
        self._forget(stop - settings.overlap - side)
        return Chunk(
            index=index,
            samples=np.ascontiguousarray(sound[side : side + stop - first]),
            start=start,
            overlap=settings.overlap,
            rate=settings.rate,
            dials=self.dials,
            seed=self.seed,
        )

    # Steering.

    def update(
        self,
        *,
        dials: Dials | None = None,
        style: StyleRequest | None = None,
        current_mix: bool = False,
        ramp_seconds: float | None = None,
        assets: Assets | None = None,
    ) -> None:
        """Changes what the next call plays. A new style glides in, and waits for `settle`.

        Args:
          current_mix: the style's loop weight is for what is heard now, instead of the loop.
          ramp_seconds: of music; the settings' if None.
          assets: mean and centroids instead of those in use.

        Raises:
          InvalidOption: the model does not know a dial.
        """
        if dials is not None:
            dials.check(self.model)
            self.dials = dials
        if style is not None:
            ramp = self.settings.style_ramp_seconds if ramp_seconds is None else ramp_seconds
            self._pending.append(lambda: self._restyle(style, current_mix, ramp, assets or self._assets))

    def recut(self, chunk_seconds: Fraction) -> None:
        """Gives the chunks from the next one on another length; between calls only.

        Raises:
          InvalidOption: the jam has bars, or the length is out of range.
        """
        if self.settings.bpm is not None:
            raise InvalidOption("The chunks of a jam with a tempo are whole bars.", "Start another with other bars.")
        self.settings = self.settings.recut(self.chunks_cut, chunk_seconds)

    def play_keys(self, keys: Sequence[KeyStroke]) -> None:
        """Keys that go down or up: from the next call on, or so much of the music later. While none is down, the model
        chooses its notes itself.

        Raises:
          InvalidOption: a key is out of range, or the model takes no notes.
        """
        refuse_unsupported(self.model, notes=keys)
        second = self.model.frame_rate * self.stretch
        for key in keys:
            key.check()
            self._keys.append(Key(self.frames_made + round(Fraction(key.after) * second), key.pitch, key.down))

    def reseed(self, loop: Waveform | None = None) -> None:
        """Lets the music go on from another loop, bar on bar, as if that had been played; waits for `settle`.

        Args:
          loop: None for what was really played.

        Raises:
          BadAudio: nothing is in it.
        """
        bars = None if loop is None else whole_bars(loop, self.settings.seconds_per_bar)[0]
        self._pending.append(lambda: self._reseed(bars))

    def splice(self, audio: Waveform | None = None, *, anchor_bars: float = 2.0) -> float:
        """Lets the music go on from what was played, but with the audio's last bars in the place of its last bars.

        They come in their place in the bar and last until now, so that the bar lines stay; waits for `settle`.

        Args:
          audio: None for what was really played.
          anchor_bars: rounded to whole bars, at least one.

        Returns:
          The bars that will be used.

        Raises:
          BadAudio: nothing is in it.
          InvalidOption: the jam has no bars, or their number is out of range.
        """
        bar = self.settings.seconds_per_bar
        if bar is None:
            raise InvalidOption("A stream without bars cannot be spliced.", "Use reseed, or start with a tempo.")
        if not 0 < anchor_bars <= 64:
            raise InvalidOption(f"anchor_bars cannot be {anchor_bars:g}.", "Choose a value from 1 to 64.")
        wanted = max(1, round(anchor_bars))
        if audio is None:
            self._pending.append(lambda: self._reseed(None))
            return float(wanted)
        bars, count = whole_bars(audio, bar, last=wanted)
        self._pending.append(lambda: self._splice(bars))
        return float(count)

    @property
    def pending(self) -> bool:
        """Something waits for the device before the next call."""
        return bool(self._pending)

    def settle(self) -> None:
        """Does all that waits, in order. Uses the device; between calls only.

        An error ends one change alone: the jam stays as it was, and the next `settle` does the rest.
        """
        while self._pending:
            self._pending.popleft()()

    # Within.

    def _codes_of(self, style: Embedding | None) -> NDArray[np.int32] | None:
        return None if style is None else self.model.style.tokenize(style)

    def _resample(self) -> None:
        made, self._made = self._made, []
        self._sound = np.concatenate([self._sound, *(self._resampler.push(samples) for samples in made)])

    def _wanted_until(self) -> int:
        """The output sample up to which sound must be there for the next chunk."""
        return self.settings.chunk_start(self.chunks_cut + 1) + levels.pad(self.settings.rate)

    def _between(self, first: int, stop: int) -> Samples:
        """Sound from one place in the jam to another; silence before its beginning."""
        before = max(self._sound_start - first, 0)
        sound = self._sound[max(first - self._sound_start, 0) : stop - self._sound_start]
        return np.pad(sound, ((before, 0), (0, 0))) if before else sound

    def _forget(self, before: int) -> None:
        surplus = max(before - self._sound_start, 0)
        self._sound, self._sound_start = self._sound[surplus:], self._sound_start + surplus

    def _first_gain(self, stop: int) -> float:
        settings = self.settings
        bar = stop if settings.seconds_per_bar is None else round(settings.seconds_per_bar * settings.rate)
        first = Waveform(self._between(0, stop), settings.rate)
        return levels.first_gain(first, bar, self._reference, settings.loudness, settings.ceiling)

    def _now(self) -> Fraction:
        """Seconds of music made."""
        return Fraction(self.frames_made, self.model.frame_rate) / self.stretch

    def _restyle(self, request: StyleRequest, current_mix: bool, ramp: float, assets: Assets) -> None:
        loop = self._loop_embedding
        if current_mix and request.loop_weight > 0:
            loop = self.model.style.embed_audio(played_sound(self.model, self._played))
        target = style_vector(request, self.model.style, loop=loop, assets=assets)
        frames = ramp * self.model.frame_rate * float(self.stretch)
        self._request, self._assets = request, assets
        self._style = self._style.to(target, now=self.frames_made, frames=frames)
        words = self._words_heard()
        if self._bars is not None and words != self._beneath:
            self._hear_loop(self._bars, words)

    def _reseed(self, loop: Waveform | None) -> None:
        if loop is None:
            return self._hear(self._played)
        self._hear_loop(loop, self._words_heard())
        self._loop_embedding = self.model.style.embed_audio(loop)
        self._restyle(self._request, False, self.settings.style_ramp_seconds, self._assets)

    def _words_heard(self) -> Beneath | None:
        settings = self.settings
        return beneath.choose(self.model, self._request, bpm=settings.bpm, beats_per_bar=settings.beats_per_bar)

    def _hear_loop(self, loop: Waveform, words: Beneath | None) -> None:
        """The next call goes on from the loop, bar on bar, with what is heard of the words."""
        bpm, end = self.settings.bpm, self._now()
        sound = beneath.loop_and_words(self.model, loop, words, bpm=bpm, stretch=self.stretch, end=end)
        self._bars, self._beneath = loop, words
        self._hear(sound_codes(self.model, sound))

    def _splice(self, anchor: Waveform) -> None:
        seconds = Fraction(len(anchor), anchor.rate) * self.stretch
        frames = min(round(seconds * self.model.frame_rate), self.model.context_frames)
        codes = loop_codes(self.model, anchor, stretch=self.stretch, end=self._now())
        self._hear(np.concatenate([self._played[:-frames], codes[-frames:]]))

    def _hear(self, context: Codes) -> None:
        """The next call goes on from this context; what sounds already goes on sounding."""
        self._streams = self.model.hear(
            self._streams, context, self.dials.knobs(self._codes_of(self._style.at(self.frames_made)))
        )
