import Foundation

/// Parses regions of one face, picture after picture, and remembers the mask before.
public protocol RegionParser: AnyObject {
    /// (classes, size, size) of the last region.
    var probabilities: Planes { get }
    /// From the picture to that region.
    var matrix: Affine { get }
    /// Whether the last picture shows hardly anything of the one before, as after a cut.
    var isCut: Bool { get }

    /// Forgets the previous mask: the next picture is the first of its kind.
    func reset()
    func parse(_ square: Square, of picture: Picture, stages: Stages) throws
    /// The face in the answer to the last region, which was made for `box`.
    func read(_ box: Box, height: Int, width: Int) -> MaskFace
}

/// A face in a frame.
public struct TrackedFace {
    /// The same for the same face as long as it is followed.
    public let number: Int
    public let box: Box
    public let probabilities: Planes
    public let matrix: Affine
    public let confidence: Double
}

public struct ParsedFrame {
    /// The longest known first; empty when none was found.
    public let faces: [TrackedFace]
    /// Class of every pixel of the picture.
    public let labels: BytePlane
    /// Whether the detector ran.
    public let detected: Bool
    /// The regions that were parsed, in order.
    public let parsed: [Square]
}

/// Finds, follows and parses the faces of a video. Not to be shared between threads.
public final class FaceEngine {
    /// A detector that looked at a doubtful face is not asked again for so many frames.
    public static let patience: Int = 10
    /// How many boxes beyond those that are wanted are tried when masks show no face in some.
    static let furtherTries: Int = 1
    /// Two boxes are of one face from this intersection over union on; two tracks of one face end as one.
    static let sameFace: Double = 0.3
    static let double: Double = 0.5

    private final class Track {
        var number: Int = 0
        let parser: RegionParser
        var held: HeldBox
        var box: Box
        var correction: Correction? = nil
        var seen: MaskFace
        var wait: Int = 0

        init(_ box: Box, _ parser: RegionParser) {
            self.parser = parser
            self.held = HeldBox(box)
            self.box = box
            self.seen = MaskFace(box: box, confidence: 0)
        }

        /// Learns from a detection in the frame that was just parsed.
        func correct(_ detected: Box) {
            let found = Correction(mask: seen.box, detected: detected)
            correction = found
            box = found.applied(to: seen.box)
        }
    }

    private let margin: Double
    private let shift: Double
    private let faces: Int
    private let redetect: Int?
    private let makeParser: () throws -> RegionParser
    /// Parsers of faces that have gone.
    private var idle: [RegionParser] = []
    private var tracks: [Track] = []
    private var latestNumber: Int = 0
    private var since: Int = 0
    private var parsed: [Square] = []

    /// - Parameters:
    ///   - preprocessing: of the sidecar; its margin and shift make regions from boxes.
    ///   - faces: how many are followed at most.
    ///   - redetect: look for further faces every so many frames; nil for never while one is followed.
    ///   - makeParser: called for every face that is followed beside others.
    public init(
        preprocessing: Preprocessing, faces: Int = 1, redetect: Int? = nil,
        makeParser: @escaping () throws -> RegionParser
    ) throws {
        guard faces >= 1 else { throw Refusal("faces must be at least 1, not \(faces)") }
        if let every = redetect, every < 1 {
            throw Refusal("redetect must be at least 1, not \(every)")
        }
        self.margin = preprocessing.margin
        self.shift = preprocessing.shift
        self.faces = faces
        self.redetect = redetect
        self.makeParser = makeParser
    }

    /// Forgets all faces: the next frame is the first one of another video.
    public func reset() {
        drop(tracks)
        since = 0
    }

    /// Parses the next frame.
    ///
    /// Faces that are known are parsed where they were. The detector runs when there is none, when a mask shows
    /// that its face is gone or leaves its region, when the picture is another, as after a cut, and every
    /// `redetect` frames; a face that it finds is parsed in this same frame.
    public func process(_ picture: Picture, stages: Stages, detect: () throws -> [Box]) throws -> ParsedFrame {
        parsed = []
        for track in tracks {
            try parse(track, picture, stages)
        }
        drop(tracks.filter { $0.seen.isLost })
        let detected: Bool = isDue()
        if detected {
            since = 0
            let boxes: [Box] = try stages.measure(.detection, detect)
            try take(boxes, picture, stages)
        }
        dropDoubles()
        var labels = BytePlane(width: picture.width, height: picture.height)
        stages.measure(.unwarp) {
            for track in tracks {
                track.parser.probabilities.unwarp(track.parser.matrix, into: &labels)
            }
        }
        let found: [TrackedFace] = tracks.map { (track: Track) -> TrackedFace in
            return TrackedFace(
                number: track.number, box: track.box, probabilities: track.parser.probabilities,
                matrix: track.parser.matrix, confidence: track.seen.confidence)
        }
        for track in tracks {
            _ = track.held.follow(track.box)
        }
        return ParsedFrame(faces: found, labels: labels, detected: detected, parsed: parsed)
    }

    /// Parses the region of a face and looks where the mask says that the face is.
    private func parse(_ track: Track, _ picture: Picture, _ stages: Stages) throws {
        let square: Square = Square(around: track.held.box, margin: margin, shift: shift).whole()
        parsed.append(square)
        try track.parser.parse(square, of: picture, stages: stages)
        stages.measure(.detection) {
            track.seen = track.parser.read(track.held.box, height: picture.height, width: picture.width)
            if !track.seen.isLost {
                track.box = (track.correction ?? Correction.none).applied(to: track.seen.box)
            }
        }
    }

    private func isDue() -> Bool {
        since += 1
        var doubtful: Bool = false
        for track in tracks {
            track.wait = max(0, track.wait - 1)
            if track.parser.isCut || (track.seen.isDoubtful && track.wait == 0) {
                doubtful = true
            }
        }
        var wanted: Bool = false
        if let every = redetect {
            wanted = since >= every && tracks.count < faces
        }
        return tracks.isEmpty || doubtful || wanted
    }

    private func take(_ detections: [Box], _ picture: Picture, _ stages: Stages) throws {
        var boxes: [Box] = detections
        var stale: [Track] = []
        for track in tracks {
            if let match = FaceEngine.nearest(boxes, to: track.box),
                boxes[match].overlap(track.box) >= FaceEngine.sameFace
            {
                let box: Box = boxes.remove(at: match)
                try lookAgain(track, box, picture, stages)
            } else if track.parser.isCut {
                stale.append(track)
            }
            if track.seen.isDoubtful {
                track.wait = FaceEngine.patience
            }
            if track.seen.isLost {
                drop([track])
            }
        }
        // What lies in an old region after a cut gives way to a face that the detector finds in the new shot.
        let most: Int = faces - tracks.count + stale.count
        let begun: Int = try beginIn(boxes, most, picture, stages)
        if begun > 0 {
            drop(stale)
        }
    }

    /// Follows faces in boxes of a detector; returns how many.
    private func beginIn(_ boxes: [Box], _ most: Int, _ picture: Picture, _ stages: Stages) throws -> Int {
        var begun: Int = 0
        // A detector may be wrong; where the mask shows no face there is none.
        for box in boxes.prefix(most + FaceEngine.furtherTries) where begun < most {
            if try begin(box, picture, stages) {
                begun += 1
            }
        }
        return begun
    }

    /// Index of the box that overlaps most, the first of several.
    private static func nearest(_ boxes: [Box], to place: Box) -> Int? {
        var best: Int? = nil
        var most: Double = -1
        for (index, box) in boxes.enumerated() {
            let shared: Double = box.overlap(place)
            if shared > most {
                best = index
                most = shared
            }
        }
        return best
    }

    /// Follows the face in a box of a detector; false when the mask shows none there.
    private func begin(_ box: Box, _ picture: Picture, _ stages: Stages) throws -> Bool {
        let track = Track(box, try parser())
        try parse(track, picture, stages)
        if track.seen.isLost {
            idle.append(track.parser)
            return false
        }
        latestNumber += 1
        track.number = latestNumber
        track.correct(box)
        tracks.append(track)
        return true
    }

    /// A detector saw a face that is followed: doubtful ones are parsed again where it is.
    private func lookAgain(_ track: Track, _ box: Box, _ picture: Picture, _ stages: Stages) throws {
        if (track.seen.isDoubtful || track.parser.isCut) && track.held.isOff(box) {
            track.held = HeldBox(box)
            try parse(track, picture, stages)
        }
        if !track.seen.isLost {
            track.correct(box)
        }
    }

    private func dropDoubles() {
        var doubles: [Track] = []
        for (index, later) in tracks.enumerated() {
            if tracks[0..<index].contains(where: { later.box.overlap($0.box) > FaceEngine.double }) {
                doubles.append(later)
            }
        }
        drop(doubles)
    }

    private func drop(_ gone: [Track]) {
        for track in gone {
            tracks.removeAll { $0 === track }
            idle.append(track.parser)
        }
    }

    private func parser() throws -> RegionParser {
        guard let used = idle.popLast() else { return try makeParser() }
        used.reset()
        return used
    }
}
