"""SpectroStream as Magenta RealTime v1 exports it: TensorFlow modules with v1's variable names and call signatures.

Written from the description of v1's graph, without the codec under test: its own geometry tables, its own order of
operations, TensorFlow's STFT. Small by its widths only; every layer of the full model is there.
"""

import numpy as np
import tensorflow as tf

FRAME, HOP, BINS = 960, 480, 480
ENCODER_STRIDES = [(1, 2), (1, 2), (1, 3), (1, 2), (1, 2), (2, 2), (2, 1)]
ENCODER_KERNELS = [(3, 4), (3, 4), (3, 6), (3, 4), (3, 4), (4, 4), (4, 3)]
GROWTH = [2, 1, 2, 1, 1, 2, 1]


def periodic_hann(length, dtype=tf.float32):
    return tf.signal.hann_window(length, periodic=True, dtype=dtype)


def variable(rng, name, shape, scale):
    return tf.Variable(rng.normal(0, scale, shape).astype(np.float32), name=name)


class WeightNorm(tf.Module):
    """A weight-normalised convolution: the raw kernel and the rescaled one, which alone is computed with."""

    def __init__(self, rng, scope, shape, outputs):
        super().__init__()
        fan_in = np.prod(shape) / outputs
        prefix = f"{scope}/weight_norm"
        self.kernel = variable(rng, f"{prefix}/kernel", shape, 1.0)
        self.g = variable(rng, f"{prefix}/g", [outputs], 1.0)
        self.initialized = tf.Variable(True, name=f"{prefix}/initialized", trainable=False)
        self.bias = variable(rng, f"{prefix}/bias", [outputs], 0.1)
        self.rescaled = variable(rng, f"{prefix}/rescaled/kernel", shape, 1 / np.sqrt(fan_in))


class Conv(WeightNorm):
    """Causal in time, centred in frequency."""

    def __init__(self, rng, scope, size, inputs, outputs, stride=(1, 1)):
        super().__init__(rng, scope, [*size, inputs, outputs], outputs)
        self.size, self.stride = size, stride

    def __call__(self, x):
        across = self.size[1] - self.stride[1]
        pads = [[0, 0], [self.size[0] - self.stride[0], 0], [across // 2, across - across // 2], [0, 0]]
        return tf.nn.conv2d(tf.pad(x, pads), self.rescaled, self.stride, "VALID") + self.bias


class Transposed(WeightNorm):
    """Its kernel is [time, frequency, out, in]; what reaches past the end is cut, the rest centred."""

    def __init__(self, rng, scope, size, inputs, outputs, stride):
        super().__init__(rng, scope, [*size, outputs, inputs], outputs)
        self.size, self.stride, self.outputs = size, stride, outputs

    def __call__(self, x):
        batch, time, freq = tf.shape(x)[0], tf.shape(x)[1], x.shape[2]
        down, across = (k - s for k, s in zip(self.size, self.stride, strict=True))
        full = [batch, time * self.stride[0] + down, freq * self.stride[1] + across, self.outputs]
        y = tf.nn.conv2d_transpose(x, self.rescaled, full, self.stride, "VALID")
        left = across // 2
        return y[:, : time * self.stride[0], left : left + freq * self.stride[1]] + self.bias


class Plain(tf.Module):
    """The last convolution of the decoder: the only one without weight normalisation."""

    def __init__(self, rng, scope, size, inputs, outputs):
        super().__init__()
        self.size = size
        self.kernel = variable(rng, f"{scope}/conv/kernel", [*size, inputs, outputs], 1 / np.sqrt(49 * inputs))
        self.bias = variable(rng, f"{scope}/conv/bias", [outputs], 0.1)

    def __call__(self, x):
        pads = [[0, 0], [self.size[0] - 1, 0], [self.size[1] // 2, self.size[1] // 2], [0, 0]]
        return tf.nn.conv2d(tf.pad(x, pads), self.kernel, 1, "VALID") + self.bias


class Gate(tf.Module):
    """Two 1x1 convolutions beside one: `conv1x1_b(elu(conv1x1_a(.))) + conv1x1(.)`."""

    def __init__(self, rng, scope, inputs, hidden, outputs, first_elu):
        super().__init__()
        self.first_elu = first_elu
        self.conv1x1 = Conv(rng, f"{scope}/conv1x1", (1, 1), inputs, outputs)
        self.conv1x1_a = Conv(rng, f"{scope}/conv1x1_a", (1, 1), inputs, hidden)
        self.conv1x1_b = Conv(rng, f"{scope}/conv1x1_b", (1, 1), hidden, outputs)

    def __call__(self, x):
        hidden = self.conv1x1_a(tf.nn.elu(x) if self.first_elu else x)
        return self.conv1x1_b(tf.nn.elu(hidden)) + self.conv1x1(x)


class Down(tf.Module):
    def __init__(self, rng, scope, kernel, stride, inputs, outputs):
        super().__init__()
        self.stride = stride
        self.conv2d_3x3 = Conv(rng, f"{scope}/conv2d_3x3", (3, 3), inputs, inputs)
        self.last = Conv(rng, f"{scope}/conv2d_{kernel[0]}x{kernel[1]}_a", kernel, inputs, outputs, stride)
        if inputs != outputs:
            self.shortcut = Conv(rng, f"{scope}/shortcut/conv1x1", (1, 1), inputs, outputs)

    def __call__(self, x):
        body = self.last(tf.nn.elu(self.conv2d_3x3(tf.nn.elu(x))))
        side = tf.nn.avg_pool2d(x, self.stride, self.stride, "VALID") if self.stride != (1, 1) else x
        return body + (self.shortcut(side) if hasattr(self, "shortcut") else side)


class Up(tf.Module):
    def __init__(self, rng, scope, kernel, stride, inputs, outputs, projected):
        super().__init__()
        self.stride = stride
        self.first = Transposed(
            rng, f"{scope}/conv2dtranspose_{kernel[0]}x{kernel[1]}", kernel, inputs, outputs, stride
        )
        self.conv2d_3x3 = Conv(rng, f"{scope}/conv2d_3x3", (3, 3), outputs, outputs)
        if projected:
            self.shortcut = Conv(rng, f"{scope}/shortcut/conv1x1", (1, 1), inputs, outputs)

    def __call__(self, x):
        body = self.conv2d_3x3(tf.nn.elu(self.first(tf.nn.elu(x))))
        side = tf.repeat(tf.repeat(x, self.stride[0], axis=1), self.stride[1], axis=2)
        return body + (self.shortcut(side) if hasattr(self, "shortcut") else side)


class Residual(tf.Module):
    def __init__(self, rng, scope, width, first, second):
        super().__init__()
        self.first = Conv(rng, f"{scope}/{first}", (3, 3), width, width)
        self.second = Conv(rng, f"{scope}/{second}", (3, 3), width, width)

    def __call__(self, x):
        return x + self.second(tf.nn.elu(self.first(tf.nn.elu(x))))


class Encoder(tf.Module):
    """[B, n, 2] samples -> [B, n / 1920, features] embeddings."""

    def __init__(self, rng, depth, features):
        super().__init__()
        self.base = Conv(rng, "base_conv_first", (7, 7), 2, depth)
        self.blocks, width = [], depth
        for i, (kernel, stride, growth) in enumerate(zip(ENCODER_KERNELS, ENCODER_STRIDES, GROWTH, strict=True)):
            inputs = 2 * width if i == 6 else width
            width *= growth
            self.blocks.append(Down(rng, f"encoder_{i}", kernel, stride, inputs, width))
        self.bottleneck = Residual(rng, "bottleneck", width, "conv2d_3x3", "conv2d_3x3_a")
        self.last = Gate(rng, "bottleneck/conv1x1_last", 5 * width, 5 * width, features, first_elu=True)

    @tf.function(input_signature=[tf.TensorSpec([None, None, 2], tf.float32)])
    def __call__(self, samples):
        spectrum = tf.signal.stft(
            tf.transpose(samples, [2, 0, 1]), FRAME, HOP, FRAME, window_fn=periodic_hann, pad_end=True
        )[..., :BINS]
        batch, steps = tf.shape(samples)[0], tf.shape(spectrum)[2]
        x = tf.stack([tf.math.real(spectrum), tf.math.imag(spectrum)], -1)
        x = self.base(tf.reshape(x, [2 * batch, steps, BINS, 2]))
        for block in self.blocks[:6]:
            x = block(x)
        sides = tf.reshape(x, [2, batch, tf.shape(x)[1], x.shape[2], x.shape[3]])
        x = self.bottleneck(self.blocks[6](tf.concat([sides[0], sides[1]], -1)))
        x = tf.reshape(x, [batch, tf.shape(x)[1], 1, x.shape[2] * x.shape[3]])
        return self.last(x)[:, :, 0]


class Decoder(tf.Module):
    """[B, frames, features] embeddings -> [B, frames * 1920, 2] samples."""

    def __init__(self, rng, depth, features):
        super().__init__()
        self.width = width = depth * int(np.prod(GROWTH))
        self.first = Gate(rng, "input_layer/conv1x1_first", features, 5 * width, 5 * width, first_elu=False)
        self.unit = Residual(rng, "input_layer", width, "conv2d_3x3_a", "conv2d_3x3")
        self.blocks = []
        for i, (kernel, stride, growth) in enumerate(
            zip(ENCODER_KERNELS[::-1], ENCODER_STRIDES[::-1], GROWTH[::-1], strict=True)
        ):
            outputs = width // growth * (2 if i == 0 else 1)
            # The original projects the shortcut after the split although its widths agree.
            self.blocks.append(
                Up(rng, f"decoder_{i}", kernel, stride, width, outputs, projected=i == 1 or width != outputs)
            )
            width //= growth
        self.last = Plain(rng, "input_layer/base_conv_last", (7, 7), width, 2)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None], tf.float32)])
    def __call__(self, embeddings):
        batch, frames = tf.shape(embeddings)[0], tf.shape(embeddings)[1]
        x = tf.pad(embeddings, [[0, 0], [0, 1], [0, 0]])[:, :, None]
        x = self.first(tf.ensure_shape(x, [None, None, 1, self.first.conv1x1.rescaled.shape[2]]))
        x = self.blocks[0](self.unit(tf.reshape(x, [batch, frames + 1, 5, self.width])))
        x = tf.concat(tf.split(x, 2, axis=-1), 0)
        for block in self.blocks[1:]:
            x = block(x)
        x = self.last(tf.nn.elu(x))[:, 4:]
        spectrum = tf.complex(x[..., 0], x[..., 1])
        spectrum = tf.pad(tf.reshape(spectrum, [2, batch, 4 * frames, BINS]), [[0, 0], [0, 0], [0, 0], [0, 1]])
        window = tf.signal.inverse_stft_window_fn(HOP, forward_window_fn=periodic_hann)
        samples = tf.signal.inverse_stft(spectrum, FRAME, HOP, FRAME, window_fn=window)
        return tf.transpose(samples[:, :, : 1920 * frames], [1, 2, 0])


class Codebook(tf.Module):
    def __init__(self, rng, features, size):
        super().__init__()
        self.embeddings = variable(rng, "embeddings", [features, size], 1 / np.sqrt(features))


class Quantizer(tf.Module):
    """Embeddings -> tokens, level by level; the codebooks are [features, size] and share one variable name."""

    def __init__(self, rng, features, levels, size):
        super().__init__()
        self._quantizers = [Codebook(rng, features, size) for _ in range(levels)]

    @tf.function(input_signature=[tf.TensorSpec([None, None, None], tf.float32), tf.TensorSpec([], tf.int32)])
    def inference_encoding_with_tf_function(self, embeddings, num_quantizers):
        tokens, residual = [], embeddings
        for quantizer in self._quantizers:
            book = tf.transpose(quantizer.embeddings)
            distances = tf.norm(residual[:, :, None] - book, axis=-1)
            nearest = tf.argmin(distances, -1, output_type=tf.int32)
            residual -= tf.gather(book, nearest)
            tokens.append(nearest)
        return tf.stack(tokens)[:num_quantizers], residual
