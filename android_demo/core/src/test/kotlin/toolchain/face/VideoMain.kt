package toolchain.face

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder

/**
 * Follows a face through the same picture with a network that knows classes by their colours, whole as in the app.
 *
 * Arguments: sidecar, picture (raw RGB), its height and width, x, y and side of the box that the detector finds,
 * how many frames, and where to write the labels of all frames to. Prints the box of the face of every frame.
 */
fun main(arguments: Array<String>) {
    val (sidecar, raw, height, width) = arguments
    val (x, y, side) = arguments.slice(4..6).map { it.toDouble() }
    val contract = Contract.read(sidecar, File(sidecar).readText())
    val network = ColorNetwork(contract)
    val stages = Stages()
    val detector = Detector { listOf(Box(x, y, side, side)) }
    val engine = FaceEngine(contract.preprocessing, detector, stages) { FaceParser(contract, network, stages) }
    val picture = Picture(height.toInt(), width.toInt(), File(raw).readBytes())
    File(arguments[8]).outputStream().use { out ->
        repeat(arguments[7].toInt()) {
            val face = engine.process(picture).single()
            out.write(engine.labels)
            println("${face.box.x} ${face.box.y} ${face.box.side} ${face.confidence} ${engine.detected}")
        }
    }
}

/** Logits are minus the squared distance to the colour of the class, and twice the previous mask. NHWC floats. */
private class ColorNetwork(private val contract: Contract) : Network {
    private val pixels = contract.size * contract.size
    override val image: ByteBuffer = buffer(contract.image)
    override val previous: ByteBuffer = buffer(contract.previous!!)
    override val logits: ByteBuffer = buffer(contract.logits)

    private fun buffer(tensor: Tensor) = ByteBuffer.allocateDirect(bytesOf(tensor)).order(ByteOrder.nativeOrder())

    override fun run() {
        val mean = contract.preprocessing.mean
        val std = contract.preprocessing.std
        for (pixel in 0 until pixels) for (label in 0 until contract.classes) {
            var away = 0f
            for (channel in 0..2) {
                val color = ((contract.palette[label][channel] - mean[channel]) / std[channel]).toFloat()
                val off = image.getFloat(4 * (3 * pixel + channel)) - color
                away += off * off
            }
            val at = 4 * (contract.classes * pixel + label)
            logits.putFloat(at, 2 * previous.getFloat(at) - away)
        }
    }
}
