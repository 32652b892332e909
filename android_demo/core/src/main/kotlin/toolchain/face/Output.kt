package toolchain.face

import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.exp

private const val FLOAT = "float32"
private const val UNSIGNED = "uint8"
private const val PROBABILITIES = "probabilities"
internal const val BYTE_VALUES = 256

/** How many bytes a tensor has. */
fun bytesOf(tensor: Tensor): Int = tensor.shape.fold(1, Int::times) * (if (tensor.dtype == FLOAT) 4 else 1)

private fun require8BitOrFloat(tensor: Tensor) {
    if (tensor.dtype !in Contract.DTYPES) throw Refusal("tensor '${tensor.name}' has elements of ${tensor.dtype}")
    tensor.requirePicture()
}

/** Real values as stored ones: round(value / scale) + zero point, halves to even, limits where out of range. */
private class Quantizer(private val tensor: Tensor) {
    private val low = if (tensor.dtype == UNSIGNED) 0f else -128f
    private val scale = tensor.scale?.toFloat()
    private val zeroPoint = (tensor.zeroPoint ?: 0).toFloat()

    fun stored(value: Float): Float {
        val steps = if (scale == null) value else Math.rint((value / scale).toDouble()).toFloat() + zeroPoint
        return if (tensor.dtype == FLOAT) steps else steps.coerceIn(low, low + BYTE_VALUES - 1)
    }
}

/** Writes a crop as the picture input of a file: normalized, or the pixels where the file normalizes them. */
class PictureInput(preprocessing: Preprocessing, private val tensor: Tensor) {
    private val channels = tensor.channels
    private val pixels = tensor.height * tensor.width
    private val floats = FloatArray(if (tensor.dtype == FLOAT) channels * pixels else 0)
    private val bytes = ByteArray(if (tensor.dtype == FLOAT) 0 else channels * pixels)
    // (channels, 256): the stored value of every pixel value.
    private val table: FloatArray

    init {
        requireRgb(preprocessing.color)
        require8BitOrFloat(tensor)
        if (preprocessing.mean.size != channels) {
            throw Refusal("input '${tensor.name}' has $channels channels, the preprocessing ${preprocessing.mean.size}")
        }
        val quantizer = Quantizer(tensor)
        table = FloatArray(channels * BYTE_VALUES) { at ->
            val channel = at / BYTE_VALUES
            val value = (at % BYTE_VALUES).toDouble()
            val real = if (tensor.image.isEmpty()) (value - preprocessing.mean[channel]) / preprocessing.std[channel] else value
            quantizer.stored(real.toFloat())
        }
    }

    /** [out] has native byte order and is left at its start. */
    fun write(crop: Picture, out: ByteBuffer) {
        require(crop.height * crop.width == pixels) { "a crop of ${crop.height} x ${crop.width}" }
        for (pixel in 0 until pixels) for (channel in 0 until channels) {
            val from = pixel * 3
            val value = if (channels == 1) luma(crop.pixels, from) else crop.pixels[from + channel].toInt() and 0xff
            val to = if (tensor.channelsLast) pixel * channels + channel else channel * pixels + pixel
            val stored = table[channel * BYTE_VALUES + value]
            if (floats.isEmpty()) bytes[to] = stored.toInt().toByte() else floats[to] = stored
        }
        put(floats, bytes, out)
    }
}

/** Writes class probabilities as the previous mask of a file. */
class MaskInput(private val tensor: Tensor) {
    private val channels = tensor.channels
    private val pixels = tensor.height * tensor.width
    private val floats = FloatArray(if (tensor.dtype == FLOAT) channels * pixels else 0)
    private val bytes = ByteArray(if (tensor.dtype == FLOAT) 0 else channels * pixels)
    private val quantizer = Quantizer(tensor)

    init {
        require8BitOrFloat(tensor)
    }

    /** [planes] are (classes, height, width). */
    fun write(planes: FloatArray, out: ByteBuffer) {
        require(planes.size == channels * pixels) { "${planes.size} values for input '${tensor.name}'" }
        for (channel in 0 until channels) for (pixel in 0 until pixels) {
            val to = if (tensor.channelsLast) pixel * channels + channel else channel * pixels + pixel
            val stored = quantizer.stored(planes[channel * pixels + pixel])
            if (floats.isEmpty()) bytes[to] = stored.toInt().toByte() else floats[to] = stored
        }
        put(floats, bytes, out)
    }
}

private fun put(floats: FloatArray, bytes: ByteArray, out: ByteBuffer) {
    out.rewind()
    out.order(ByteOrder.nativeOrder())
    if (floats.isEmpty()) out.put(bytes) else out.asFloatBuffer().put(floats)
    out.rewind()
}

/** Reads an output tensor as class probabilities, whatever its layout and element type. */
class ClassOutput(private val tensor: Tensor) {
    private val channels = tensor.channels
    private val pixels = tensor.height * tensor.width
    private val floats = FloatArray(if (tensor.dtype == FLOAT) channels * pixels else 0)
    private val bytes = ByteArray(if (tensor.dtype == FLOAT) 0 else channels * pixels)
    // (256): the real value of every stored byte.
    private val table: FloatArray
    private val exponents = DoubleArray(channels)

    init {
        require8BitOrFloat(tensor)
        val scale = (tensor.scale ?: 1.0).toFloat()
        val zeroPoint = (tensor.zeroPoint ?: 0).toFloat()
        table = FloatArray(BYTE_VALUES) { stored ->
            val value = if (tensor.dtype == UNSIGNED) stored else stored.toByte().toInt()
            (value - zeroPoint) * scale
        }
    }

    /** Real values (classes, height, width) of a tensor in native byte order: (stored - zero point) * scale. */
    fun dequantize(stored: ByteBuffer, out: FloatArray) {
        require(out.size == channels * pixels) { "${out.size} values for output '${tensor.name}'" }
        stored.rewind()
        stored.order(ByteOrder.nativeOrder())
        if (floats.isEmpty()) stored.get(bytes) else stored.asFloatBuffer().get(floats)
        stored.rewind()
        for (channel in 0 until channels) for (pixel in 0 until pixels) {
            val from = if (tensor.channelsLast) pixel * channels + channel else channel * pixels + pixel
            out[channel * pixels + pixel] = if (floats.isEmpty()) table[bytes[from].toInt() and 0xff] else floats[from]
        }
    }

    /**
     * Class probabilities (classes, height, width); a tensor of the name "probabilities" has been through a softmax.
     *
     * @throws Refusal a logit is not a number, or infinite.
     */
    fun probabilities(stored: ByteBuffer, out: FloatArray) {
        dequantize(stored, out)
        if (tensor.name == PROBABILITIES) return
        for (pixel in 0 until pixels) softmax(out, pixel)
    }

    private fun softmax(planes: FloatArray, pixel: Int) {
        var highest = Float.NEGATIVE_INFINITY
        for (channel in 0 until channels) highest = maxOf(highest, planes[channel * pixels + pixel])
        // The largest of numbers and not-a-number is not-a-number.
        if (!highest.isFinite()) {
            throw Refusal("the network's output is not finite; check the model file with `toolchain verify`")
        }
        var sum = 0.0
        for (channel in 0 until channels) {
            exponents[channel] = exp(planes[channel * pixels + pixel].toDouble() - highest)
            sum += exponents[channel]
        }
        for (channel in 0 until channels) planes[channel * pixels + pixel] = (exponents[channel] / sum).toFloat()
    }
}

/** The most probable class of every pixel, the lowest one of several; [planes] are (classes, pixels). */
fun argmax(planes: FloatArray, classes: Int, labels: ByteArray) {
    val pixels = labels.size
    require(planes.size == classes * pixels) { "${planes.size} values for $classes classes of $pixels pixels" }
    for (pixel in 0 until pixels) {
        var best = 0
        for (label in 1 until classes) if (planes[label * pixels + pixel] > planes[best * pixels + pixel]) best = label
        labels[pixel] = best.toByte()
    }
}
