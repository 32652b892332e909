package toolchain.demo

import android.Manifest
import android.content.pm.PackageManager
import android.os.Bundle
import android.view.View
import android.widget.AdapterView
import android.widget.ArrayAdapter
import android.widget.Button
import android.widget.Spinner
import android.widget.TextView
import androidx.activity.ComponentActivity
import androidx.activity.result.contract.ActivityResultContracts
import androidx.camera.view.PreviewView
import androidx.core.content.ContextCompat
import java.util.concurrent.ExecutionException
import java.util.concurrent.ExecutorService
import java.util.concurrent.Executors
import java.util.concurrent.atomic.AtomicInteger
import toolchain.face.Picture
import toolchain.face.Refusal
import toolchain.face.Stage

/** The only screen: the camera with the effect over it, the times of the stages, and what can be chosen. */
class MainActivity : ComponentActivity() {
    private lateinit var preview: PreviewView
    private lateinit var overlay: OverlayView
    private lateinit var message: TextView
    private lateinit var timesView: TextView
    private lateinit var artefacts: Artefacts
    private lateinit var device: DeviceState
    private lateinit var camera: CameraFrames
    private var names = emptyList<String>()

    // All that concerns a network happens on this one thread.
    private val inference: ExecutorService = Executors.newSingleThreadExecutor()
    private val choices = AtomicInteger()
    private var live: LiveNetwork? = null
    private var shownAt = 0L
    private var frameSize = listOf(0, 0)

    // Of the main thread. A camera problem stands until the camera starts, whatever else is said.
    private var cameraProblem = ""
    private var said = ""

    // Of the main thread; the inference thread reads it.
    @Volatile
    private var front = true

    private val permission = registerForActivityResult(ActivityResultContracts.RequestPermission()) { granted ->
        if (granted) startCamera() else refuse(getString(R.string.camera_refused))
    }

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.main)
        preview = findViewById(R.id.preview)
        overlay = findViewById(R.id.overlay)
        message = findViewById(R.id.message)
        timesView = findViewById(R.id.times)
        artefacts = Artefacts(this)
        device = DeviceState(this)
        camera = CameraFrames(this, inference, ::onFrame) { why -> refuse(getString(R.string.no_camera, why)) }
        names = artefacts.names()
        fill(R.id.model, names)
        fill(R.id.accelerator, Accelerator.entries.map { getString(it.label) })
        fill(R.id.effect, Effect.entries.map { getString(it.label) })
        findViewById<Button>(R.id.benchmark).setOnClickListener { benchmark() }
        findViewById<Button>(R.id.save).setOnClickListener { saveTimes() }
        findViewById<Button>(R.id.turn).setOnClickListener {
            front = !front
            startCamera()
        }
        if (names.isEmpty()) say(getString(R.string.no_models))
        if (mayUseCamera()) {
            startCamera()
        } else {
            permission.launch(Manifest.permission.CAMERA)
        }
    }

    override fun onResume() {
        super.onResume()
        // The permission may have been given in the settings meanwhile.
        if (cameraProblem.isNotEmpty() && mayUseCamera()) startCamera()
    }

    override fun onDestroy() {
        inference.execute { closeLive() }
        inference.shutdown()
        super.onDestroy()
    }

    private fun fill(id: Int, items: List<String>) {
        val spinner = findViewById<Spinner>(id)
        val adapter = ArrayAdapter(this, android.R.layout.simple_spinner_item, items)
        adapter.setDropDownViewResource(android.R.layout.simple_spinner_dropdown_item)
        spinner.adapter = adapter
        spinner.onItemSelectedListener = object : AdapterView.OnItemSelectedListener {
            override fun onItemSelected(parent: AdapterView<*>?, view: View?, position: Int, id: Long) = choose()

            override fun onNothingSelected(parent: AdapterView<*>?) = Unit
        }
    }

    private fun selected(id: Int): Int = findViewById<Spinner>(id).selectedItemPosition

    private fun mayUseCamera(): Boolean =
        ContextCompat.checkSelfPermission(this, Manifest.permission.CAMERA) == PackageManager.PERMISSION_GRANTED

    private fun startCamera() {
        if (mayUseCamera()) {
            refuse("")
            camera.start(this, preview, front)
        } else {
            refuse(getString(R.string.camera_refused))
        }
    }

    /** Loads what is chosen; the last choice wins. */
    private fun choose() {
        val name = names.getOrNull(selected(R.id.model)) ?: return
        val wanted = Accelerator.entries[selected(R.id.accelerator)]
        val effect = Effect.entries[selected(R.id.effect)]
        say(getString(R.string.loading, name))
        val choice = choices.incrementAndGet()
        inference.execute { if (choice == choices.get()) attempt { say(loadedText(open(name, wanted, effect))) } }
    }

    /** On the inference thread. */
    private fun open(name: String, wanted: Accelerator, effect: Effect): LiveNetwork {
        closeLive()
        return LiveNetwork(this, artefacts, name, wanted, effect, device).also { live = it }
    }

    private fun loadedText(loaded: LiveNetwork): String {
        val place = getString(loaded.network.accelerator.label)
        val fallback = loaded.network.fallback ?: return getString(R.string.loaded, loaded.artefact.file, place)
        return getString(R.string.fell_back, loaded.artefact.file, place, fallback)
    }

    /** On the inference thread. */
    private fun onFrame(picture: Picture) {
        val running = live ?: return
        attempt {
            running.process(picture)
            frameSize = listOf(picture.width, picture.height)
            overlay.show(picture, front)
            showTimes(running)
        }
    }

    private fun showTimes(running: LiveNetwork) {
        val now = System.nanoTime()
        if (now - shownAt < REFRESH) return
        shownAt = now
        val lines = Stage.entries.joinToString("\n") { stage ->
            val half = running.times.quantile(stage, HALF) ?: 0.0
            val most = running.times.quantile(stage, MOST) ?: 0.0
            getString(R.string.times_line, stage.key, half, most)
        }
        val state = getString(R.string.thermal_line, device.thermal())
        val face = if (running.hasFace) "" else getString(R.string.no_face)
        runOnUiThread { timesView.text = listOf(lines, state, face).filter { it.isNotEmpty() }.joinToString("\n") }
    }

    private fun benchmark() {
        val name = names.getOrNull(selected(R.id.model)) ?: return say(getString(R.string.no_models))
        val wanted = Accelerator.entries[selected(R.id.accelerator)]
        val effect = Effect.entries[selected(R.id.effect)]
        say(getString(R.string.measuring, name))
        inference.execute {
            closeLive()
            attempt {
                // What is refused may be the clip: the camera's frames go on, unless the network is refused again.
                val result = try {
                    savedText(Benchmark(this, device).run(name, wanted, effect, artefacts))
                } catch (error: Refusal) {
                    error.message.orEmpty()
                }
                say(result + "\n" + loadedText(open(name, wanted, effect)))
            }
        }
    }

    private fun saveTimes() {
        inference.execute {
            val running = live
            if (running == null || running.times.count == 0) {
                say(getString(R.string.nothing_to_save))
            } else {
                attempt { say(savedText(Benchmark(this, device).saveLive(running, frameSize))) }
            }
        }
    }

    private fun savedText(measured: Measured): String =
        getString(R.string.saved, measured.total.p50, measured.total.p90, measured.file.path)

    private fun closeLive() {
        live?.close()
        live = null
        overlay.clear()
    }

    /** Says what is wrong instead of ending the app; the network that failed is not used again. */
    private fun attempt(action: () -> Unit) {
        try {
            action()
        } catch (error: Refusal) {
            closeLive()
            say(error.message.orEmpty())
        } catch (error: RuntimeException) {
            closeLive()
            say(getString(R.string.failed, error.toString()))
        } catch (error: ExecutionException) {
            closeLive()
            say(getString(R.string.failed, error.cause.toString()))
        }
    }

    private fun say(text: String) = runOnUiThread {
        said = text
        show()
    }

    /** @param why there is no camera; empty when there is one. On the main thread. */
    private fun refuse(why: String) {
        cameraProblem = why
        show()
    }

    private fun show() {
        message.text = listOf(cameraProblem, said).filter { it.isNotEmpty() }.joinToString("\n")
    }

    private companion object {
        // Between two refreshes of the times, in nanoseconds; and the shares of p50 and p90.
        const val REFRESH = 500_000_000L
        const val HALF = 0.5
        const val MOST = 0.9
    }
}
