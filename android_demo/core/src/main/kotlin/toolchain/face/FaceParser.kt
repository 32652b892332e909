package toolchain.face

import java.nio.ByteBuffer

/** A loaded model file with its tensors in direct buffers of native byte order. */
interface Network {
    val image: ByteBuffer
    val previous: ByteBuffer?
    val logits: ByteBuffer

    /** Computes [logits] from the inputs. */
    fun run()
}

/**
 * Runs a face parser on the regions of one face. All arrays are made once, none for a frame.
 *
 * @param network shared by the parsers of all faces, one after the other.
 */
class FaceParser(private val contract: Contract, private val network: Network, private val stages: Stages) : RegionParser {
    private val size = contract.size
    private val classes = contract.classes
    private val crop = Picture(size, size)
    private val cropper = Cropper(size, contract.preprocessing.resize)
    private val pictureInput = PictureInput(contract.preprocessing, contract.image)
    private val maskInput = contract.previous?.let { MaskInput(it) }
    private val output = ClassOutput(contract.logits)
    private val unwarper = Unwarper(classes, size)
    private val reader = MaskReader(contract.labels, PreviousMask.SIDE)
    private val before = PreviousMask(classes, size)
    private val greyShrink = GreyShrink(size, PreviousMask.GREY_SIDE)
    private val planeShrink = AreaShrink(size, PreviousMask.SIDE)
    private val grey = IntArray(PreviousMask.GREY_SIDE * PreviousMask.GREY_SIDE)
    private val carried = FloatArray(if (maskInput == null) 0 else classes * size * size)
    private val overview = FloatArray(classes * PreviousMask.SIDE * PreviousMask.SIDE)
    private val toOverview = Affine()

    /** (classes, size, size) probabilities of the last crop. */
    val probabilities = FloatArray(classes * size * size)

    /** Picture to the last crop. */
    val matrix = Affine()

    override var cut = false
        private set

    override fun forget() = before.forget()

    override fun parse(picture: Picture, square: Square, held: Box): MaskFace {
        stages.measure(Stage.CROP) { fill(picture, square) }
        stages.measure(Stage.INFERENCE) { network.run() }
        stages.measure(Stage.UNWARP) { keep() }
        return stages.measure(Stage.DETECTION) {
            toOverview.setShrunk(matrix, size, PreviousMask.SIDE)
            reader.read(overview, toOverview, held, picture.height, picture.width)
        }
    }

    override fun unwarp(labels: ByteArray, height: Int, width: Int) =
        unwarper.unwarp(probabilities, matrix, labels, height, width)

    private fun fill(picture: Picture, square: Square) {
        matrix.setCrop(square, size)
        cropper.cut(picture, matrix, crop)
        pictureInput.write(crop, network.image)
        val input = maskInput ?: return
        greyShrink.shrink(crop, grey)
        val known = before.isKnown
        cut = !before.carried(grey, matrix, carried) && known
        input.write(carried, network.previous ?: throw Refusal("the model file has no input for the previous mask"))
    }

    private fun keep() {
        output.probabilities(network.logits, probabilities)
        for (label in 0 until classes) {
            planeShrink.shrink(probabilities, label * size * size, overview, label * PreviousMask.SIDE * PreviousMask.SIDE)
        }
        if (maskInput != null) before.put(grey, matrix, overview)
    }
}
