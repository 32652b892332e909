package toolchain.face

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.system.exitProcess

/**
 * Compares this core with the golden vectors of the Python engine.
 *
 * Arguments: the folder of the golden files, and perhaps where to write the first report of report.json to. Prints
 * one line per file and per case that differs; the exit code is 1 when a case differs, 2 when a file is missing.
 */
fun main(arguments: Array<String>) {
    val folder = File(arguments.firstOrNull() ?: exitWith("give the folder of the golden files"))
    val files = folder.listFiles { file -> file.extension == "json" }?.sortedBy { it.name }.orEmpty()
    val missing = TOPICS - files.map { it.nameWithoutExtension }.toSet()
    if (missing.isNotEmpty()) exitWith("'$folder' has no files $missing")
    val failures = files.sumOf { check(it) }
    arguments.getOrNull(1)?.let { File(it).writeText(Json.write(report(casesOf(File(folder, "report.json"))[0].inner("input")).asJson())) }
    println(if (failures == 0) "all golden cases are the same" else "$failures golden cases differ")
    exitProcess(if (failures == 0) 0 else 1)
}

private val TOPICS = setOf(
    "sidecar", "region", "mask_reader", "held_box", "engine", "previous_mask", "output", "unwarp", "overlay",
    "lipstick", "statistics", "report",
)

private fun exitWith(message: String): Nothing {
    System.err.println(message)
    exitProcess(2)
}

private fun casesOf(file: File) = (Json.read(file.readText()) as List<*>).map { Golden(it as Map<*, *>) }

private fun check(file: File): Int {
    val cases = casesOf(file)
    val wrong = cases.mapNotNull { case -> failure(case)?.let { "  ${case.text("name")}: $it" } }
    println("${file.name}: ${cases.size - wrong.size} of ${cases.size} cases are the same")
    wrong.forEach { println(it) }
    return wrong.size
}

private fun failure(case: Golden): String? {
    val expected = case.inner("expected")
    val refusal = if (expected.has("refusal")) expected.inner("refusal").texts("mentions") else null
    return try {
        val found = answer(case.text("function"), case.inner("input"))
        if (refusal != null) "is not refused" else difference(expected.raw, found)
    } catch (error: Refusal) {
        if (refusal == null) "is refused: ${error.message}"
        else refusal.firstOrNull { it !in error.message.orEmpty() }?.let { "the message '${error.message}' lacks '$it'" }
    } catch (error: RuntimeException) {
        "fails with $error at ${error.stackTrace.firstOrNull()}"
    }
}

private fun answer(function: String, given: Golden): Any? = when (function) {
    "contract" -> contract(Contract.read("golden.tflite", given.text("text")))
    "face_square" -> Answer.square(faceSquare(given.box("box"), given.number("margin"), given.number("shift")))
    "whole" -> Answer.square(given.square("square").whole())
    "whole_square" -> Answer.square(wholeSquare(given.whole("height"), given.whole("width")))
    "central_square" -> Answer.square(centralSquare(given.whole("height"), given.whole("width")))
    "crop_matrix" -> Answer.matrix(Affine().setCrop(given.square("square"), given.whole("size")))
    "inverse" -> Answer.matrix(Affine().setInverse(given.matrix("matrix")))
    "shrunk_matrix" -> Answer.matrix(Affine().setShrunk(given.matrix("matrix"), given.whole("size"), given.whole("side")))
    "crop_between" -> Answer.matrix(Affine().setCropBetween(given.matrix("before"), given.matrix("now")))
    "shrunk_region" -> Answer.matrix(Affine().setShrunkRegion(given.matrix("region"), given.whole("size"), given.whole("side")))
    "crop" -> crop(given)
    "read" -> readMask(given)
    "follow" -> follow(given)
    "is_off" -> mapOf("off" to HeldBox(given.box("held")).isOff(given.box("box")))
    "correction" -> Correction.between(given.box("mask"), given.box("detected"))
        .let { mapOf("scale" to it.scale, "shift" to listOf(it.shiftX, it.shiftY)) }
    "applied" -> Answer.box(correction(given.inner("correction")).applied(given.box("mask")))
    "overlap" -> mapOf("overlap" to overlap(given.box("first"), given.box("second")))
    "sequence" -> sequence(given)
    "shrink" -> shrink(given)
    "grey" -> grey(given)
    "carry" -> carryCase(given)
    "met_again" -> metAgain(given)
    "carried" -> carriedCase(given)
    "picture_input" -> pictureInput(given)
    "mask_input" -> maskInput(given)
    "probabilities" -> classOutput(given) { tensor, stored, out -> ClassOutput(tensor).probabilities(stored, out) }
    "dequantize" -> classOutput(given) { tensor, stored, out -> ClassOutput(tensor).dequantize(stored, out) }
    "argmax" -> argmaxCase(given)
    "unwarp" -> unwarp(given)
    "colorize" -> colorize(given)
    "tones" -> mapOf("table" to Answer.bytes(listOf(256, 3), tones(given.color("color"), given.number("shift"))))
    "recolored" -> recolored(given)
    "coverage" -> coverage(given)
    "lipstick" -> lipstick(given)
    "figures" -> figures(Figures.of(given.list("samples").map { goldenNumber(it) }.toDoubleArray()))
    "report" -> mapOf("report" to Json.read(Json.write(report(given).asJson())))
    else -> throw IllegalStateException("unknown function '$function'")
}

private fun contract(of: Contract) = mapOf(
    "name" to of.name, "format" to of.format, "precision" to of.precision, "size" to of.size, "classes" to of.classes,
    "labels" to of.labels, "palette" to of.palette.map { it.toList() }, "image" to Answer.tensor(of.image),
    "previous" to of.previous?.let { Answer.tensor(it) }, "logits" to Answer.tensor(of.logits),
    "preprocessing" to of.preprocessing.let {
        mapOf(
            "color" to it.color, "mean" to it.mean, "std" to it.std, "resize" to it.resize, "margin" to it.margin,
            "shift" to it.shift,
        )
    },
    "sha256" to of.sha256, "bytes" to of.bytes, "parity" to of.parity?.asJson(),
)

private fun crop(given: Golden): Any {
    val size = given.whole("size")
    val out = Picture(size, size)
    Cropper(size, given.text("resize")).cut(given.array("picture").picture(), given.matrix("matrix"), out)
    return mapOf("picture" to Answer.picture(out))
}

private fun readMask(given: Golden): Any {
    val mask = given.array("probabilities")
    val (height, width) = given.wholes("shape")
    val reader = MaskReader(given.texts("labels"), mask.shape[1])
    return Answer.mask(reader.read(mask.floats(), given.matrix("matrix"), given.box("box"), height, width))
}

private fun Answer.mask(of: MaskFace) =
    mapOf("box" to box(of.box), "confidence" to of.confidence, "lost" to of.lost, "doubt" to of.doubt)

private fun follow(given: Golden): Any {
    val held = HeldBox(given.box("box"))
    val first = held.box
    val steps = given.inners("boxes").map { held.follow(it.asBox()) to held.box }
    return mapOf("first" to Answer.box(first), "moved" to steps.map { it.first }, "held" to steps.map { Answer.box(it.second) })
}

private fun correction(given: Golden) =
    given.list("shift").map { goldenNumber(it) }.let { (x, y) -> Correction(given.number("scale"), x, y) }

private fun sequence(given: Golden): Any {
    val (height, width) = given.wholes("shape")
    val picture = Picture(height, width)
    val preprocessing = given.inner("preprocessing").let {
        Preprocessing("RGB", listOf(0.0), listOf(1.0), "bilinear", it.number("margin"), it.number("shift"))
    }
    val answers = ArrayDeque<MaskFace>()
    val parsed = ArrayList<Square>()
    val previous = ArrayList<Boolean>()
    var boxes = emptyList<Box>()
    var number = 0
    var cutIn = -1
    class Told : RegionParser {
        private var known = false
        private var last = -1
        override var cut = false
            private set

        override fun forget() {
            known = false
        }

        override fun parse(picture: Picture, square: Square, held: Box): MaskFace {
            parsed.add(square)
            cut = known && number == cutIn && number != last
            previous.add(known && !cut)
            known = true
            last = number
            return answers.removeFirst()
        }

        override fun unwarp(labels: ByteArray, height: Int, width: Int) = Unit
    }
    val redetect = if (given.has("redetect")) given.whole("redetect") else null
    val engine = FaceEngine(preprocessing, { boxes }, faces = given.whole("faces"), redetect = redetect) { Told() }
    val frames = given.inners("frames").map { frame ->
        parsed.clear()
        previous.clear()
        number++
        if (frame.flag("cut")) cutIn = number
        boxes = frame.inners("detections").map { it.asBox() }
        frame.inners("answers").mapTo(answers) {
            MaskFace(it.box("box"), it.number("confidence"), it.text("lost"), it.text("doubt"))
        }
        val faces = engine.process(picture)
            .map { mapOf("number" to it.number, "box" to Answer.box(it.box), "confidence" to it.confidence) }
        check(answers.isEmpty()) { "${answers.size} regions were not parsed" }
        mapOf(
            "detected" to engine.detected, "parsed" to parsed.map { Answer.square(it) }, "previous" to previous.toList(),
            "faces" to faces,
        )
    }
    return mapOf("frames" to frames)
}

private fun shrink(given: Golden): Any {
    val planes = given.array("planes")
    val (classes, size) = planes.shape
    val side = given.whole("side")
    val out = FloatArray(classes * side * side)
    val shrink = AreaShrink(size, side)
    for (label in 0 until classes) shrink.shrink(planes.floats(), label * size * size, out, label * side * side)
    return mapOf("planes" to Answer.array(listOf(classes, side, side), out))
}

private fun grey(given: Golden): Any {
    val picture = given.array("picture").picture()
    val side = given.whole("side")
    val out = IntArray(side * side)
    GreyShrink(picture.height, side).shrink(picture, out)
    return mapOf("grey" to Answer.bytes(listOf(side, side), ByteArray(out.size) { out[it].toByte() }))
}

private fun carryCase(given: Golden): Any {
    val mask = given.array("mask")
    val (classes, side) = mask.shape
    val met = if (given.has("met")) given.array("met") else null
    val out = FloatArray(mask.values.size)
    carry(
        mask.floats(), classes, side, given.matrix("region"), given.flow("flow"), met?.values?.map { it != 0.0 }?.toBooleanArray(),
        met?.shape?.get(0) ?: 0, out,
    )
    return mapOf("mask" to Answer.array(mask.shape, out))
}

private fun GoldenArray.levels() = IntArray(values.size) { values[it].toInt() }

private fun metAgain(given: Golden): Any {
    val before = given.array("before")
    val side = before.shape[0]
    val met = BooleanArray(side * side)
    Meeting(side).find(before.levels(), given.array("now").levels(), given.flow("flow"), given.flow("back"), met)
    return mapOf("met" to Answer.bytes(before.shape, ByteArray(met.size) { if (met[it]) 1 else 0 }))
}

private fun carriedCase(given: Golden): Any {
    val mask = given.array("mask")
    val (classes, side) = mask.shape
    val grey = given.array("before_grey")
    val size = given.whole("size")
    val previous = PreviousMask(classes, size, side, grey.shape[0])
    val out = FloatArray(classes * size * size)
    check(!previous.carried(grey.levels(), Affine(), out)) { "a mask before the first one" }
    previous.put(grey.levels(), given.matrix("before_matrix"), mask.floats())
    val carried = previous.carried(
        given.array("now_grey").levels(), given.matrix("now_matrix"), out, given.flow("flow"), given.flow("back"),
    )
    if (!carried) return mapOf("mask" to null)
    val met = previous.metAgain()
    return mapOf(
        "mask" to Answer.array(listOf(classes, size, size), out),
        "met" to Answer.bytes(grey.shape, ByteArray(met.size) { if (met[it]) 1 else 0 }),
    )
}

private fun stored(tensor: Tensor, write: (ByteBuffer) -> Unit): GoldenArray {
    val buffer = ByteBuffer.allocateDirect(bytesOf(tensor)).order(ByteOrder.nativeOrder())
    write(buffer)
    buffer.rewind()
    val count = tensor.shape.fold(1, Int::times)
    if (tensor.dtype != "float32") return Answer.bytes(tensor.shape, ByteArray(count).also { buffer.get(it) }, tensor.dtype)
    return Answer.array(tensor.shape, FloatArray(count).also { buffer.asFloatBuffer().get(it) })
}

private fun pictureInput(given: Golden): Any {
    val preprocessing = given.inner("preprocessing").let {
        Preprocessing(
            it.text("color"), it.list("mean").map { one -> goldenNumber(one) }, it.list("std").map { one -> goldenNumber(one) },
            "bilinear", 1.0, 0.0,
        )
    }
    val tensor = given.tensor("tensor")
    val input = PictureInput(preprocessing, tensor)
    return mapOf("array" to stored(tensor) { input.write(given.array("picture").picture(), it) })
}

private fun maskInput(given: Golden): Any {
    val tensor = given.tensor("tensor")
    return mapOf("array" to stored(tensor) { MaskInput(tensor).write(given.array("planes").floats(), it) })
}

private fun classOutput(given: Golden, read: (Tensor, ByteBuffer, FloatArray) -> Unit): Any {
    val tensor = given.tensor("tensor")
    val out = FloatArray(tensor.channels * tensor.height * tensor.width)
    read(tensor, given.array("array").buffer(), out)
    return mapOf("planes" to Answer.array(listOf(tensor.channels, tensor.height, tensor.width), out))
}

private fun argmaxCase(given: Golden): Any {
    val planes = given.array("planes")
    val labels = ByteArray(planes.shape[1] * planes.shape[2])
    argmax(planes.floats(), planes.shape[0], labels)
    return mapOf("labels" to Answer.bytes(planes.shape.drop(1), labels))
}

private fun unwarp(given: Golden): Any {
    val planes = given.array("probabilities")
    val (height, width) = given.wholes("shape")
    val labels = if (given.has("labels")) given.array("labels").bytes() else ByteArray(height * width)
    Unwarper(planes.shape[0], planes.shape[1]).unwarp(planes.floats(), given.matrix("matrix"), labels, height, width)
    return mapOf("labels" to Answer.bytes(listOf(height, width), labels))
}

private fun colorize(given: Golden): Any {
    val picture = given.array("picture").picture()
    val palette = given.list("palette").map { color -> (color as List<*>).map { (it as Number).toInt() }.toIntArray() }
    Overlay(palette, given.number("alpha"), given.wholes("hidden").toSet()).paint(picture, given.array("labels").bytes())
    return mapOf("picture" to Answer.picture(picture))
}

private fun recolored(given: Golden): Any {
    val picture = given.array("pixels").picture()
    val table = tones(given.color("color"), given.number("shift"))
    for (pixel in picture.pixels.indices step 3) {
        table.copyInto(picture.pixels, pixel, 3 * luma(picture.pixels, pixel), 3 * luma(picture.pixels, pixel) + 3)
    }
    return mapOf("picture" to Answer.picture(picture))
}

private fun painter(given: Golden): Lipstick {
    // Where lips are does not depend on their colour.
    val color = if (given.has("color")) given.color("color") else IntArray(3)
    return Lipstick(given.texts("labels"), given.array("probabilities").shape[1], color, given.number("strength"))
}

private fun coverage(given: Golden): Any {
    val (height, width) = given.wholes("shape")
    val out = ByteArray(height * width)
    painter(given).opacity(given.array("probabilities").floats(), given.matrix("matrix"), height, width, out)
    return mapOf("opacity" to Answer.bytes(listOf(height, width), out))
}

private fun lipstick(given: Golden): Any {
    val picture = given.array("picture").picture()
    painter(given).paint(picture, given.array("probabilities").floats(), given.matrix("matrix"))
    return mapOf("picture" to Answer.picture(picture))
}

private fun figures(of: Figures) = mapOf(
    "p50" to of.p50, "p90" to of.p90, "p99" to of.p99, "mean" to of.mean, "minimum" to of.minimum, "maximum" to of.maximum,
    "spread" to of.spread, "outliers" to of.outliers, "drift" to of.drift, "count" to of.count, "drifted" to of.drifted,
)

private fun report(given: Golden): Report {
    val lane = given.inner("lane")
    return Report(
        given.text("created"), given.texts("command"), lane.text("name"), plain(lane.inner("details")),
        plain(given.inner("machine")), plain(given.inner("settings")), given.inners("entries").map { entry(it) },
    )
}

private fun plain(of: Golden): Map<String, Any?> = of.raw.entries.associate { (it.key as String) to it.value }

private fun entry(given: Golden): Entry {
    val file = given.inner("file")
    fun numbers(key: String) = plain(given.inner(key)).mapValues { goldenNumber(it.value) }
    return Entry(
        given.text("name"), given.text("runtime"), if (given.has("threads")) given.whole("threads") else null,
        MeasuredFile(
            file.text("path"), file.text("sha256"), file.number("bytes").toLong(), file.text("format"), file.text("precision"),
            file.text("model"), plain(file.inner("parity")),
        ),
        given.number("load_ms"), given.number("first_ms"), given.whole("warmup_runs"), given.raw["steady"] as Boolean,
        given.whole("repeats"), given.inners("frames").map { frame -> plain(frame).mapValues { goldenNumber(it.value) } },
        given.list("at_s").map { goldenNumber(it) }, numbers("memory_mb"), numbers("shares"), given.raw["partial"] as String?,
    )
}
