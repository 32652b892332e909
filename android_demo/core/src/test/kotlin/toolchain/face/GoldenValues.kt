package toolchain.face

import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.Base64
import kotlin.math.abs
import kotlin.math.max

/** An array of a golden file; [values] in C order, real ones where the file has a divisor. */
class GoldenArray(val shape: List<Int>, val dtype: String, val values: DoubleArray) {
    fun floats() = FloatArray(values.size) { values[it].toFloat() }

    fun bytes() = ByteArray(values.size) { values[it].toInt().toByte() }

    fun picture() = Picture(shape[0], shape[1], bytes())

    /** In native byte order, as a runtime hands a tensor out. */
    fun buffer(): ByteBuffer {
        val isFloat = dtype == "float32"
        val found = ByteBuffer.allocateDirect(values.size * (if (isFloat) 4 else 1)).order(ByteOrder.nativeOrder())
        for (value in values) if (isFloat) found.putFloat(value.toFloat()) else found.put(value.toInt().toByte())
        found.rewind()
        return found
    }
}

/** The fields of an input or an expectation, by the types of docs in toolchain/face/golden_cases.py. */
class Golden(val raw: Map<*, *>) {
    fun has(key: String) = raw[key] != null

    fun text(key: String) = raw.getValue(key) as String

    fun flag(key: String) = raw.getValue(key) as Boolean

    fun whole(key: String) = (raw.getValue(key) as Number).toInt()

    fun number(key: String) = goldenNumber(raw.getValue(key))

    fun numberOrNull(key: String) = raw[key]?.let { goldenNumber(it) }

    fun list(key: String) = raw.getValue(key) as List<*>

    fun texts(key: String) = list(key).map { it as String }

    fun wholes(key: String) = list(key).map { (it as Number).toInt() }

    fun inner(key: String) = Golden(raw.getValue(key) as Map<*, *>)

    fun inners(key: String) = list(key).map { Golden(it as Map<*, *>) }

    fun box(key: String) = inner(key).asBox()

    fun asBox() = Box(number("x"), number("y"), number("width"), number("height"))

    fun square(key: String) = inner(key).let { Square(it.number("x"), it.number("y"), it.number("side")) }

    fun color(key: String) = wholes(key).toIntArray()

    fun matrix(key: String): Affine {
        val (a, b, c, d, e, f) = Six(list(key).flatMap { it as List<*> }.map { goldenNumber(it) })
        return Affine(a, b, c, d, e, f)
    }

    fun flow(key: String) = if (has(key)) array(key).let { Flow(it.shape[0], it.floats()) } else null

    fun array(key: String): GoldenArray {
        val found = inner(key)
        val dtype = found.text("dtype")
        val stored = if (found.has("base64")) {
            Base64.getDecoder().decode(found.text("base64")).map { (if (dtype == "int8") it.toInt() else it.toInt() and 0xff).toDouble() }
        } else {
            found.list("values").map { goldenNumber(it) }
        }
        val divisor = found.numberOrNull("divisor") ?: 1.0
        return GoldenArray(found.wholes("shape"), dtype, DoubleArray(stored.size) { stored[it] / divisor })
    }

    fun tensor(key: String) = inner(key).let {
        Tensor(
            it.text("name"), it.wholes("shape"), it.text("dtype"), it.text("layout"), it.numberOrNull("scale"),
            if (it.has("zero_point")) it.whole("zero_point") else null, it.text("image"),
        )
    }

    private fun Map<*, *>.getValue(key: String): Any = this[key] ?: throw AssertionError("no '$key' in the golden file")

    private class Six(val of: List<Double>) {
        operator fun component1() = of[0]
        operator fun component2() = of[1]
        operator fun component3() = of[2]
        operator fun component4() = of[3]
        operator fun component5() = of[4]
        operator fun component6() = of[5]
    }
}

fun goldenNumber(value: Any?): Double = when (value) {
    is Number -> value.toDouble()
    "inf" -> Double.POSITIVE_INFINITY
    "-inf" -> Double.NEGATIVE_INFINITY
    "nan" -> Double.NaN
    else -> throw AssertionError("$value is no number")
}

/** How the answers of this core are written down before they are compared. */
object Answer {
    fun box(box: Box) = mapOf("x" to box.x, "y" to box.y, "width" to box.width, "height" to box.height)

    fun square(square: Square) = mapOf("x" to square.x, "y" to square.y, "side" to square.side)

    fun matrix(of: Affine) = mapOf("matrix" to listOf(listOf(of.a, of.b, of.c), listOf(of.d, of.e, of.f)))

    fun array(shape: List<Int>, values: FloatArray) = GoldenArray(shape, "float32", DoubleArray(values.size) { values[it].toDouble() })

    fun bytes(shape: List<Int>, values: ByteArray, dtype: String = "uint8") = GoldenArray(
        shape, dtype, DoubleArray(values.size) { (if (dtype == "int8") values[it].toInt() else values[it].toInt() and 0xff).toDouble() },
    )

    fun picture(of: Picture) = bytes(listOf(of.height, of.width, 3), of.pixels)

    fun tensor(of: Tensor) = mapOf(
        "name" to of.name, "shape" to of.shape, "dtype" to of.dtype, "layout" to of.layout, "scale" to of.scale,
        "zero_point" to of.zeroPoint, "image" to of.image,
    )
}

/** Compares an answer with what a golden file expects; null when they are the same. */
fun difference(expected: Any?, found: Any?, tolerance: Double = 0.0, path: String = ""): String? = when {
    found is GoldenArray -> arrayDifference(Golden(mapOf("array" to expected)).array("array"), found, tolerance, path)
    expected is Map<*, *> && found is Map<*, *> -> {
        val steps = (expected["tolerance"] as Number?)?.toDouble() ?: 0.0
        val keys = expected.keys - "tolerance"
        if (keys != found.keys) "$path has the keys ${found.keys}, not $keys"
        else keys.firstNotNullOfOrNull { difference(expected[it], found[it], steps, "$path.$it") }
    }
    expected is List<*> && found is List<*> ->
        if (expected.size != found.size) "$path has ${found.size} items, not ${expected.size}"
        else expected.indices.firstNotNullOfOrNull { difference(expected[it], found[it], tolerance, "$path[$it]") }
    found is Number && (expected is Number || expected is String) -> numberDifference(goldenNumber(expected), found.toDouble(), path)
    expected == found -> null
    else -> "$path is $found, not $expected"
}

private fun arrayDifference(expected: GoldenArray, found: GoldenArray, tolerance: Double, path: String): String? {
    if (expected.shape != found.shape || expected.dtype != found.dtype || expected.values.size != found.values.size) {
        return "$path is ${found.dtype} ${found.shape}, not ${expected.dtype} ${expected.shape}"
    }
    val isFloat = expected.dtype == "float32"
    for (at in expected.values.indices) {
        val one = expected.values[at]
        val other = found.values[at]
        val place = "$path[$at]"
        if (isFloat) numberDifference(one, other, place)?.let { return it }
        else if (abs(one - other) > tolerance) return "$place is $other, not $one within $tolerance"
    }
    return null
}

private fun numberDifference(expected: Double, found: Double, path: String): String? {
    val same = expected == found || (expected.isNaN() && found.isNaN()) ||
        abs(expected - found) <= FLOAT_TOLERANCE * max(1.0, abs(expected))
    return if (same) null else "$path is $found, not $expected"
}

private const val FLOAT_TOLERANCE = 1e-5
