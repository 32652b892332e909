package toolchain.face

/** One tensor of a sidecar: [shape] in the order of [layout], [image] "RGB" where the file takes 8-bit pixels. */
data class Tensor(
    val name: String,
    val shape: List<Int>,
    val dtype: String,
    val layout: String,
    val scale: Double?,
    val zeroPoint: Int?,
    val image: String,
) {
    /** Whether the channels of a pixel lie side by side. */
    val channelsLast: Boolean get() = layout == NHWC
    val channels: Int get() = if (channelsLast) shape[3] else shape[1]
    val height: Int get() = if (channelsLast) shape[1] else shape[2]
    val width: Int get() = if (channelsLast) shape[2] else shape[3]

    internal fun requirePicture(): Tensor {
        if (layout !in listOf(NCHW, NHWC) || shape.size != 4 || shape[0] != 1 || shape.any { it < 1 }) {
            throw Refusal("tensor '$name' has layout '$layout' and shape $shape, not one picture: export the model again")
        }
        return this
    }

    private companion object {
        const val NCHW = "NCHW"
        const val NHWC = "NHWC"
    }
}

/** How a picture becomes the first input; [margin] and [shift] are in units of the face box's longer side. */
data class Preprocessing(
    val color: String,
    val mean: List<Double>,
    val std: List<Double>,
    val resize: String,
    val margin: Double,
    val shift: Double,
)

/** How close the file is to the reference; [sqnrDb] is infinite when bit-exact, [agreement] may be unknown. */
data class Parity(
    val sqnrDb: Double,
    val maxAbs: Double,
    val agreement: Double?,
    val samples: Int,
    val reference: String,
    val inputs: String,
) {
    /** As in a sidecar: what is not finite becomes "inf", "-inf" or "nan". */
    fun asJson(): Map<String, Any?> = linkedMapOf(
        "sqnr_db" to spelled(sqnrDb),
        "max_abs" to spelled(maxAbs),
        "agreement" to agreement,
        "samples" to samples,
        "reference" to reference,
        "inputs" to inputs,
    )

    private fun spelled(value: Double): Any = when {
        value.isFinite() -> value
        value.isNaN() -> "nan"
        else -> if (value > 0) "inf" else "-inf"
    }
}

/** A face parser as its sidecar describes it: everything that an app needs to know of the file. */
class Contract(
    val name: String,
    val format: String,
    val precision: String,
    val image: Tensor,
    val previous: Tensor?,
    val logits: Tensor,
    val preprocessing: Preprocessing,
    val labels: List<String>,
    val palette: List<IntArray>,
    val sha256: String,
    val bytes: Long,
    val parity: Parity?,
) {
    /** Side of the crop in pixels. */
    val size: Int get() = image.height
    val classes: Int get() = labels.size

    companion object {
        /** The only version of sidecars that this app reads. */
        const val VERSION = 1L

        /**
         * Reads and checks a sidecar.
         *
         * @param file name of the model file, for messages.
         * @throws Refusal it is damaged, of another version, or describes no face parser that the engine runs.
         */
        fun read(file: String, text: String): Contract {
            val document = try {
                Json.read(text)
            } catch (error: Refusal) {
                throw Refusal("sidecar of '$file' cannot be read: ${error.message}; $HINT", error)
            }
            val contract = try {
                parse(file, Fields(document, "the sidecar"))
            } catch (error: BadField) {
                throw Refusal("sidecar of '$file' cannot be read: ${error.message}; $HINT", error)
            }
            contract.check(file)
            return contract
        }

        private fun parse(file: String, raw: Fields): Contract {
            val version = raw.value("version")
            if (version != VERSION) throw Refusal("sidecar of '$file' has version $version, not $VERSION; $HINT")
            for (key in listOf("ops", "versions", "command")) raw.value(key)
            val format = raw.text("format")
            val precision = raw.text("precision")
            val inputs = raw.list("inputs").map { tensor(it) }
            val outputs = raw.list("outputs").map { tensor(it) }
            val preprocessing = raw.value("preprocessing")?.let { preprocessing(it) }
            val labels = raw.list("labels").map { it as? String ?: throw BadField("a label is no text") }
            val palette = raw.list("palette").map { color(it) }
            val parity = raw.value("parity")?.let { parity(it) }
            if (raw.text("task") != SEGMENTATION || preprocessing == null) {
                throw Refusal("'$file' is no segmentation of pictures; $FITTING")
            }
            if (inputs.size !in 1..2 || outputs.size != 1) {
                throw Refusal(
                    "'$file' has ${inputs.size} inputs and ${outputs.size} outputs, " +
                        "not a picture, perhaps a previous mask, and one map; $FITTING",
                )
            }
            return Contract(
                raw.text("name"), format, precision, inputs[0].requirePicture(), inputs.getOrNull(1)?.requirePicture(),
                outputs[0].requirePicture(), preprocessing, labels, palette, raw.text("sha256"), raw.whole("bytes"), parity,
            )
        }

        private fun tensor(value: Any?): Tensor {
            val raw = Fields(value, "a tensor")
            raw.only("name", "shape", "dtype", "layout", "scale", "zero_point", "image")
            val shape = raw.list("shape").map { (it as? Long)?.toInt() ?: throw BadField("a shape has no whole number") }
            val zeroPoint = raw.value("zero_point")?.let { (it as? Long)?.toInt() ?: throw BadField("a zero point is not whole") }
            return Tensor(
                raw.text("name"), shape, raw.text("dtype"), raw.text("layout"), raw.numberOrNull("scale"), zeroPoint,
                // Sidecars of this version that are older have no such key: their files take no 8-bit pixels.
                if (raw.has("image")) raw.text("image") else "",
            )
        }

        private fun preprocessing(value: Any): Preprocessing {
            val raw = Fields(value, "the preprocessing")
            raw.only("color", "mean", "std", "resize", "margin", "shift")
            return Preprocessing(
                raw.text("color"), raw.numbers("mean"), raw.numbers("std"), raw.text("resize"), raw.number("margin"),
                raw.number("shift"),
            )
        }

        private fun color(value: Any?): IntArray {
            val parts = (value as? List<*>)?.map { (it as? Long)?.toInt() }
            if (parts == null || parts.size != 3 || parts.any { it == null || it !in 0..255 }) {
                throw BadField("a colour of the palette is not three numbers of 0 to 255")
            }
            return IntArray(3) { parts[it]!! }
        }

        private fun parity(value: Any): Parity {
            val raw = Fields(value, "the parity")
            raw.only("sqnr_db", "max_abs", "agreement", "samples", "reference", "inputs")
            return Parity(
                raw.spelledNumber("sqnr_db"), raw.spelledNumber("max_abs"), raw.numberOrNull("agreement"),
                raw.whole("samples").toInt(), raw.text("reference"), raw.text("inputs"),
            )
        }

        private const val SEGMENTATION = "segmentation"
        internal const val HINT = "export the model again"
        internal const val FITTING = "export a face parser, such as mobile-hourglass"

        // A label that only face parsers have.
        internal const val FACE_LABEL = "nose"
        internal val DTYPES = listOf("float32", "uint8", "int8")
    }

    private fun check(file: String) {
        val channels = image.channels
        val colors = preprocessing.mean.size
        if (image.height != image.width || channels != colors || channels != preprocessing.std.size || channels !in listOf(1, 3)) {
            throw Refusal(
                "'$file' takes pictures of ${image.height} x ${image.width} with $channels channels " +
                    "($colors means); square pictures with 3 channels (or grey) are supported",
            )
        }
        if (labels.isEmpty() || palette.size != classes) {
            throw Refusal("the sidecar of '$file' has $classes labels and ${palette.size} colours; $HINT")
        }
        for (tensor in listOfNotNull(previous, logits)) {
            if (tensor.channels != classes || tensor.height != size || tensor.width != size) {
                throw Refusal(
                    "tensor '${tensor.name}' of '$file' has shape ${tensor.shape} (${tensor.layout}), " +
                        "not $size x $size with $classes classes; $FITTING",
                )
            }
        }
        for (tensor in listOfNotNull(image, previous, logits)) {
            if (tensor.dtype !in DTYPES) throw Refusal("tensor '${tensor.name}' of '$file' has elements of ${tensor.dtype}; $HINT")
        }
        if (FACE_LABEL !in labels) throw Refusal("'$file' does not parse faces; $FITTING")
        if (preprocessing.resize !in Cropper.RULES) {
            throw Refusal("'$file' needs the resize rule '${preprocessing.resize}'; rules are ${Cropper.RULES}")
        }
        requireRgb(preprocessing.color)
    }
}

internal fun requireRgb(color: String) {
    if (color != "RGB") throw Refusal("colour order '$color' is not supported; export with RGB input")
}

/** What is wrong with a field, without the file's name. */
internal class BadField(message: String) : Exception(message)

/** The fields of a decoded JSON object, each asked for by its type. */
internal class Fields(value: Any?, private val what: String) {
    private val raw: Map<*, *> = value as? Map<*, *> ?: throw BadField("$what is no object")

    fun only(vararg known: String) {
        val other = raw.keys.firstOrNull { it !in known } ?: return
        throw BadField("$what has the unknown key '$other'")
    }

    fun has(key: String): Boolean = raw.containsKey(key)

    fun value(key: String): Any? {
        if (!raw.containsKey(key)) throw BadField("$what has no '$key'")
        return raw[key]
    }

    fun text(key: String): String = value(key) as? String ?: throw BadField("'$key' of $what is no text")

    fun whole(key: String): Long = value(key) as? Long ?: throw BadField("'$key' of $what is no whole number")

    fun number(key: String): Double = numberOrNull(key) ?: throw BadField("'$key' of $what is no number")

    fun numberOrNull(key: String): Double? {
        val found = value(key) ?: return null
        return (found as? Number)?.toDouble() ?: throw BadField("'$key' of $what is no number")
    }

    fun spelledNumber(key: String): Double = when (value(key)) {
        "inf" -> Double.POSITIVE_INFINITY
        "-inf" -> Double.NEGATIVE_INFINITY
        "nan" -> Double.NaN
        else -> number(key)
    }

    fun list(key: String): List<Any?> = value(key) as? List<*> ?: throw BadField("'$key' of $what is no list")

    fun numbers(key: String): List<Double> =
        list(key).map { (it as? Number)?.toDouble() ?: throw BadField("'$key' of $what has something else than numbers") }
}
