"""The geometry of a SpectroStream codec: STFT, strides, widths, quantiser. Knows no arrays."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

Pair = tuple[int, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Block:
    """One residual unit of a conv stack, as built: its channels are those of one branch where `split` holds.

    Attributes:
      name: its name in the parameter tree.
      inputs, outputs: channels.
      stride: (time, frequency).
      projected: whether the shortcut has a 1x1 convolution.
      split: whether it runs on every audio channel's branch alone, with shared parameters.
    """

    name: str
    inputs: int
    outputs: int
    stride: Pair
    projected: bool
    split: bool

    @property
    def resample_kernel(self) -> Pair:
        """Size of the kernel that changes the resolution: twice the stride, at least 3."""
        return max(3, 2 * self.stride[0]), max(3, 2 * self.stride[1])


@dataclasses.dataclass(frozen=True, kw_only=True)
class CodecConfig:
    """Every dial of the codec. The defaults are those of Magenta RealTime (v1 and v2): 48 kHz stereo, 25 frames/s.

    Attributes:
      sample_rate: Hz.
      channels: audio channels.
      stft_frame, stft_step, stft_fft: STFT window, hop and transform length in samples.
      ratios: (time, frequency) strides of the encoder's blocks; the decoder goes through them backwards.
      mults: channel growth of each block.
      encoder_depth, decoder_depth: channels next to the spectrogram.
      encoder_conv_size, decoder_conv_size: (time, frequency) kernel next to the spectrogram.
      num_features: size of an embedding.
      num_levels, codebook_size: residual vector quantiser.
      channel_splits: branches with shared parameters that the spectrogram's channels are dealt to; 1 for none.
      channel_recombo_block: the encoder block that joins the branches (may be negative; the blocks are those of
        `ratios` and then the bottleneck).
      lookahead_frames: frames that the decoder sees ahead of the one it renders.
      decoder_units: residual units at the decoder's bottleneck; one in the original.
      fold: (steps, bins) of the spectrogram that the network sees as channels of one position; (1, 1) in the original.
      compression: exponent of the magnitudes that the network sees and makes; 1 (linear) in the original, whose
        gains a small network could not learn quickly.

    Source: SpectroStream, Magenta RealTime.
    """

    sample_rate: int = 48_000
    channels: int = 2
    stft_frame: int = 960
    stft_step: int = 480
    stft_fft: int = 960
    ratios: tuple[Pair, ...] = ((1, 2), (1, 2), (1, 3), (1, 2), (1, 2), (2, 2), (2, 1))
    mults: tuple[int, ...] = (2, 1, 2, 1, 1, 2, 1)
    encoder_depth: int = 32
    decoder_depth: int = 64
    encoder_conv_size: Pair = (7, 7)
    decoder_conv_size: Pair = (7, 7)
    num_features: int = 256
    num_levels: int = 64
    codebook_size: int = 1024
    channel_splits: int = 2
    channel_recombo_block: int = -2
    lookahead_frames: int = 1
    decoder_units: int = 1
    fold: Pair = (1, 1)
    compression: float = 1.0

    def __post_init__(self) -> None:
        if len(self.ratios) != len(self.mults):
            raise ValueError(f"ratios and mults differ in length: {len(self.ratios)} and {len(self.mults)}.")
        if self.bins % (self.fold[1] * math.prod(f for _, f in self.ratios)):
            raise ValueError(f"The fold {self.fold} and the strides {self.ratios} do not divide {self.bins} bins.")
        if self.channels % self.channel_splits:
            raise ValueError(f"{self.channels} channels cannot be split into {self.channel_splits} branches.")
        if not -len(self.ratios) - 1 <= self.channel_recombo_block < len(self.ratios) or self.join_block == len(
            self.ratios
        ):
            raise ValueError(
                f"channel_recombo_block {self.channel_recombo_block} names none of the {len(self.ratios)} blocks."
            )
        if not self.stft_step < self.stft_frame <= self.stft_fft or self.stft_frame % self.stft_step:
            raise ValueError(
                "The STFT window must be a multiple (two or more) of its hop and at most as long as the transform."
            )

    @classmethod
    def spectrostream(cls) -> CodecConfig:
        """The full 48 kHz stereo model of Magenta RealTime v1 and v2: 61,713,666 parameters."""
        return cls()

    @classmethod
    def tiny(cls) -> CodecConfig:
        """The codec of the embedded model: the same frames and levels, 3.8 M parameters, most of its decoder."""
        return cls(
            ratios=((1, 5), (2, 2)),
            mults=(2, 1),
            encoder_depth=32,
            decoder_depth=64,
            decoder_units=3,
            encoder_conv_size=(1, 1),
            decoder_conv_size=(3, 3),
            channel_splits=1,
            channel_recombo_block=0,
            fold=(2, 8),
            compression=1 / 3,
            num_features=64,
            num_levels=16,
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CodecConfig:
        """The configuration of a JSON object (lists become tuples). Unknown names raise ValueError."""
        known = {f.name for f in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"Unknown codec settings: {', '.join(unknown)}.")
        return cls(**{name: _tuples(value) for name, value in values.items()})

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready object; `from_dict` reads it back."""
        return {name: _lists(value) for name, value in dataclasses.asdict(self).items()}

    @property
    def bins(self) -> int:
        """Frequency bins kept: all but the Nyquist bin."""
        return self.stft_fft // 2

    @property
    def bottleneck_bins(self) -> int:
        return self.bins // self.fold[1] // math.prod(f for _, f in self.ratios)

    @property
    def spectrogram_channels(self) -> int:
        """Real and imaginary part of every audio channel, of every step and bin of a fold."""
        return 2 * self.channels * math.prod(self.fold)

    @property
    def steps_per_frame(self) -> int:
        """STFT frames in a codec frame."""
        return self.fold[0] * math.prod(t for t, _ in self.ratios)

    @property
    def frame_samples(self) -> int:
        return self.steps_per_frame * self.stft_step

    @property
    def frame_rate(self) -> float:
        return self.sample_rate / self.frame_samples

    @property
    def join_block(self) -> int:
        """Index of the encoder block that sees all channels first."""
        return self.channel_recombo_block % (len(self.ratios) + 1)

    @property
    def encoder_width(self) -> int:
        """Channels of the encoder's bottleneck."""
        return self.encoder_depth * math.prod(self.mults)

    @property
    def decoder_width(self) -> int:
        """Channels of the decoder's bottleneck."""
        return self.decoder_depth * math.prod(self.mults)

    def encoder_blocks(self) -> list[Block]:
        """The encoder's residual units, the bottleneck last."""
        blocks = []
        inputs = outputs = self.encoder_depth
        for index, (stride, mult) in enumerate(zip(self.ratios, self.mults, strict=True)):
            if index == self.join_block:
                inputs *= self.channel_splits
            outputs *= mult
            blocks.append(self._block(f"encoder_{index}", inputs, outputs, stride, split=index < self.join_block))
            inputs = outputs
        return [*blocks, self._block("bottleneck", inputs, outputs, (1, 1), split=False)]

    def decoder_blocks(self) -> list[Block]:
        """The decoder's residual units after the input layer, the bottleneck first.

        The block that hands over to the branches makes the channels of all of them; the one after it always has a
        projected shortcut, whether its widths differ or not (so the original is built).
        """
        width = self.decoder_width
        names = ["input_layers_residual_unit", *(f"bottleneck_{n}" for n in range(1, self.decoder_units))]
        blocks = [self._block(name, width, width, (1, 1), split=False) for name in names]
        inputs, after_join = width, False
        for number, (stride, mult) in enumerate(zip(self.ratios[::-1], self.mults[::-1], strict=True)):
            index = len(self.ratios) - 1 - number
            width //= mult
            outputs = width * self.channel_splits if index == self.join_block else width
            block = self._block(f"decoder_{number}", inputs, outputs, stride, split=index < self.join_block)
            blocks.append(dataclasses.replace(block, projected=True) if after_join else block)
            after_join = index == self.join_block and self.channel_splits > 1
            inputs = width
        return blocks

    def _block(self, name: str, inputs: int, outputs: int, stride: Pair, *, split: bool) -> Block:
        split = split and self.channel_splits > 1
        return Block(name=name, inputs=inputs, outputs=outputs, stride=stride, projected=inputs != outputs, split=split)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list | tuple) else value


def _lists(value: Any) -> Any:
    return [_lists(v) for v in value] if isinstance(value, list | tuple) else value
