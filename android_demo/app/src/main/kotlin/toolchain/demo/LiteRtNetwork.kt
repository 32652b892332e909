package toolchain.demo

import android.content.Context
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.tensorflow.lite.DataType
import org.tensorflow.lite.Delegate
import org.tensorflow.lite.Interpreter
import org.tensorflow.lite.gpu.CompatibilityList
import org.tensorflow.lite.gpu.GpuDelegate
import org.tensorflow.lite.nnapi.NnApiDelegate
import toolchain.face.Network
import toolchain.face.Refusal
import toolchain.face.Tensor
import toolchain.face.bytesOf

/** What computes a network. */
enum class Accelerator(val label: Int) {
    CPU(R.string.accelerator_cpu),
    GPU(R.string.accelerator_gpu),
    NNAPI(R.string.accelerator_nnapi),
}

/**
 * A face parser in LiteRT. To be made, run and closed on one thread: a GPU delegate belongs to its thread.
 *
 * @property accelerator what really computes it.
 * @property fallback why that is not what was wanted; null when it is.
 */
class LiteRtNetwork private constructor(
    artefact: Artefact,
    private val interpreter: Interpreter,
    private val delegate: Delegate?,
    val accelerator: Accelerator,
    val fallback: String?,
) : Network, AutoCloseable {
    private val contract = artefact.contract
    override val image: ByteBuffer = buffer(contract.image)
    override val previous: ByteBuffer? = contract.previous?.let { buffer(it) }
    override val logits: ByteBuffer = buffer(contract.logits)
    private val inputs: Map<String, Any>
    private val outputs: Map<String, Any>
    private val signature: String

    init {
        // The sidecar's names are those of the file's signature.
        signature = interpreter.signatureKeys.singleOrNull() ?: throw Refusal(MISMATCH.format(artefact.file))
        val wanted = listOfNotNull(contract.image, contract.previous)
        val same = interpreter.getSignatureInputs(signature).toSet() == wanted.map { it.name }.toSet() &&
            interpreter.getSignatureOutputs(signature).toList() == listOf(contract.logits.name) &&
            wanted.all { fits(interpreter.getInputTensorFromSignature(it.name, signature), it) } &&
            fits(interpreter.getOutputTensorFromSignature(contract.logits.name, signature), contract.logits)
        if (!same) throw Refusal(MISMATCH.format(artefact.file))
        inputs = wanted.map { it.name }.zip(listOfNotNull(image, previous)).toMap()
        outputs = mapOf(contract.logits.name to logits)
    }

    override fun run() {
        logits.rewind()
        interpreter.runSignature(inputs, outputs, signature)
    }

    override fun close() {
        interpreter.close()
        delegate?.close()
    }

    companion object {
        private const val MISMATCH = "the tensors of '%s' are not those of its sidecar: export the model again"
        private val TYPES = mapOf("float32" to DataType.FLOAT32, "int8" to DataType.INT8, "uint8" to DataType.UINT8)

        private fun fits(tensor: org.tensorflow.lite.Tensor, said: Tensor): Boolean =
            tensor.shape().toList() == said.shape && tensor.dataType() == TYPES[said.dtype]

        private fun buffer(tensor: Tensor): ByteBuffer =
            ByteBuffer.allocateDirect(bytesOf(tensor)).order(ByteOrder.nativeOrder())

        /**
         * Loads a file for an accelerator, or for the CPU where that one cannot run it.
         *
         * @throws Refusal not even the CPU can, or the sidecar is that of another file.
         */
        fun load(context: Context, artefact: Artefact, wanted: Accelerator): LiteRtNetwork {
            if (wanted == Accelerator.CPU) return onCpu(context, artefact, null)
            val why = try {
                val delegate = delegate(wanted)
                if (delegate != null) return onDelegate(artefact, wanted, delegate)
                context.getString(R.string.not_on_this_device)
            } catch (error: RuntimeException) {
                error.message ?: error.toString()
            } catch (error: Refusal) {
                error.message ?: error.toString()
            } catch (error: LinkageError) {
                error.message ?: error.toString()
            }
            return onCpu(context, artefact, why)
        }

        /** Runs it once, on zeros, since a delegate may take a file and fail only then; whatever fails, nothing stays open. */
        private fun onDelegate(artefact: Artefact, wanted: Accelerator, delegate: Delegate): LiteRtNetwork {
            var interpreter: Interpreter? = null
            var works = false
            try {
                val made = Interpreter(artefact.content, Interpreter.Options().addDelegate(delegate))
                interpreter = made
                val network = LiteRtNetwork(artefact, made, delegate, wanted, null)
                network.run()
                works = true
                return network
            } finally {
                if (!works) {
                    interpreter?.close()
                    delegate.close()
                }
            }
        }

        private fun delegate(wanted: Accelerator): Delegate? = when (wanted) {
            Accelerator.CPU -> null
            Accelerator.GPU -> CompatibilityList().use { if (it.isDelegateSupportedOnThisDevice) GpuDelegate() else null }
            Accelerator.NNAPI -> NnApiDelegate()
        }

        private fun onCpu(context: Context, artefact: Artefact, fallback: String?): LiteRtNetwork {
            val options = Interpreter.Options()
                .setNumThreads(context.resources.getInteger(R.integer.threads))
                .setUseXNNPACK(true)
            val interpreter = try {
                Interpreter(artefact.content, options)
            } catch (error: RuntimeException) {
                throw Refusal(context.getString(R.string.not_loaded, artefact.file, error.message), error)
            }
            return try {
                LiteRtNetwork(artefact, interpreter, null, Accelerator.CPU, fallback)
            } catch (error: Refusal) {
                interpreter.close()
                throw error
            }
        }
    }
}
