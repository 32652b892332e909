package toolchain.face

/** Finds faces in pictures. */
fun interface Detector {
    /** Boxes as the contract counts them, in pixels, the largest first. */
    fun detect(picture: Picture): List<Box>
}

/** Parses the region of one face, picture after picture, and remembers the mask before. */
interface RegionParser {
    /** Whether the last picture shows hardly anything of the one before, as after a cut. */
    val cut: Boolean

    /** Forgets the mask before: the next picture is the first of its kind. */
    fun forget()

    /**
     * Parses what [square] shows of a picture, and looks where the mask says that the face is.
     *
     * @param held box that the region was made from.
     */
    fun parse(picture: Picture, square: Square, held: Box): MaskFace

    /** Draws the labels of the last answer into (height, width) [labels], where they are not the background. */
    fun unwarp(labels: ByteArray, height: Int, width: Int)
}

/** A face in a frame; [number] is the same for the same face as long as it is followed. */
class TrackedFace<P : RegionParser>(val number: Int, val box: Box, val confidence: Double, val parser: P)

/**
 * Frames in, parsed faces out: a detector where no face is known, the previous mask where one is.
 *
 * Faces that are known are parsed where they were. The detector runs when there is none, when a mask shows that
 * its face is gone or leaves its region, when the picture is another, as after a cut, and every [redetect] frames;
 * a face that it finds is parsed in this same frame. Not to be shared between threads.
 *
 * @param faces how many faces are followed at most, the largest first.
 * @param redetect look for further faces every so many frames; null for never while one is followed.
 * @param newParser makes the parser of one face; those of faces that have gone are used again.
 */
class FaceEngine<P : RegionParser>(
    private val preprocessing: Preprocessing,
    private val detector: Detector,
    private val stages: Stages = Stages(),
    private val faces: Int = 1,
    private val redetect: Int? = null,
    private val newParser: () -> P,
) {
    private val tracks = ArrayList<Track>()
    private val idle = ArrayList<P>()
    private val found = ArrayList<TrackedFace<P>>()
    private val boxes = ArrayList<Box>()
    private var numbers = 0
    private var since = 0

    /** Class of every pixel of the last picture; holds until the next one. */
    var labels = ByteArray(0)
        private set

    /** Whether the detector ran for the last picture. */
    var detected = false
        private set

    init {
        if (faces < 1 || (redetect ?: 1) < 1) throw Refusal("faces and redetect must be at least 1")
    }

    /** Forgets all faces: the next frame is the first one of another video. */
    fun reset() {
        while (tracks.isNotEmpty()) drop(tracks.last())
        since = 0
    }

    /**
     * Parses the next frame; the faces, the longest known first, hold until the next one.
     *
     * @throws Refusal the network's output is not finite.
     */
    fun process(picture: Picture): List<TrackedFace<P>> {
        for (track in tracks) track.parse(picture)
        for (index in tracks.indices.reversed()) if (tracks[index].seen.lost.isNotEmpty()) drop(tracks[index])
        detected = isDue()
        if (detected) detect(picture)
        dropDoubles()
        stages.measure(Stage.UNWARP) {
            if (labels.size != picture.height * picture.width) labels = ByteArray(picture.height * picture.width)
            labels.fill(0)
            for (track in tracks) track.parser.unwarp(labels, picture.height, picture.width)
        }
        found.clear()
        for (track in tracks) {
            found.add(TrackedFace(track.number, track.box, track.seen.confidence, track.parser))
            track.held.follow(track.box)
        }
        return found
    }

    private fun isDue(): Boolean {
        since++
        var doubtful = false
        for (track in tracks) {
            track.wait = maxOf(0, track.wait - 1)
            doubtful = doubtful || track.parser.cut || (track.seen.doubt.isNotEmpty() && track.wait == 0)
        }
        val wanted = redetect != null && since >= redetect && tracks.size < faces
        return tracks.isEmpty() || doubtful || wanted
    }

    private fun detect(picture: Picture) {
        since = 0
        boxes.clear()
        stages.measure(Stage.DETECTION) { boxes.addAll(detector.detect(picture)) }
        val stale = ArrayList<Track>()
        for (track in tracks.toList()) {
            val match = boxes.maxByOrNull { overlap(track.box, it) }
            if (match != null && overlap(match, track.box) >= SAME_FACE) {
                boxes.remove(match)
                lookAgain(track, match, picture)
            } else if (track.parser.cut) {
                stale.add(track)
            }
            if (track.seen.doubt.isNotEmpty()) track.wait = PATIENCE
            if (track.seen.lost.isNotEmpty()) drop(track)
        }
        // What lies in an old region after a cut gives way to a face that the detector finds in the new shot.
        if (beginIn(boxes, faces - tracks.size + stale.size, picture) > 0) for (track in stale) drop(track)
    }

    /** Follows faces in boxes of a detector; returns how many. */
    private fun beginIn(boxes: List<Box>, most: Int, picture: Picture): Int {
        var begun = 0
        // A detector may be wrong; where the mask shows no face there is none.
        for (index in 0 until minOf(most + FURTHER_TRIES, boxes.size)) {
            if (begun < most && begin(picture, boxes[index])) begun++
        }
        return begun
    }

    private fun begin(picture: Picture, box: Box): Boolean {
        val parser = idle.removeLastOrNull()?.also { it.forget() } ?: newParser()
        val track = Track(box, parser)
        track.parse(picture)
        if (track.seen.lost.isNotEmpty()) {
            idle.add(parser)
            return false
        }
        track.number = ++numbers
        track.correct(box)
        tracks.add(track)
        return true
    }

    /** A detector saw a face that is followed: doubtful ones are parsed again where it is. */
    private fun lookAgain(track: Track, box: Box, picture: Picture) {
        if ((track.seen.doubt.isNotEmpty() || track.parser.cut) && track.held.isOff(box)) {
            track.held = HeldBox(box)
            track.parse(picture)
        }
        if (track.seen.lost.isEmpty()) track.correct(box)
    }

    private fun dropDoubles() {
        for (later in tracks.indices.reversed()) {
            if ((0 until later).any { overlap(tracks[later].box, tracks[it].box) > DOUBLE }) drop(tracks[later])
        }
    }

    private fun drop(track: Track) {
        tracks.remove(track)
        idle.add(track.parser)
    }

    /** One face over time. */
    private inner class Track(var box: Box, val parser: P) {
        var number = 0
        var held = HeldBox(box)
        var seen = MaskFace(box, 0.0)
        var wait = 0
        private var correction = UNCORRECTED

        fun parse(picture: Picture) {
            val square = faceSquare(held.box, preprocessing.margin, preprocessing.shift).whole()
            seen = parser.parse(picture, square, held.box)
            if (seen.lost.isEmpty()) box = correction.applied(seen.box)
        }

        /** Learns from a detection in the frame that was just parsed. */
        fun correct(detected: Box) {
            correction = Correction.between(seen.box, detected)
            box = correction.applied(seen.box)
        }
    }

    private companion object {
        val UNCORRECTED = Correction()
        // See toolchain/face/engine.py.
        const val PATIENCE = 10
        const val FURTHER_TRIES = 1
        const val SAME_FACE = 0.3
        const val DOUBLE = 0.5
    }
}
