import AVFoundation
import CoreVideo
import FaceParsing
import Foundation

/// Frames for a benchmark, the same ones every time.
protocol FrameSource {
    /// For the report.
    var title: String { get }
    /// After so many frames it begins again; Int.max where it never does.
    var count: Int { get }

    func frame(_ number: Int) throws -> Picture
    func detect(_ picture: Picture) throws -> [Box]
}

/// A clip of the bundle, decoded before anything is measured; begins again at its end.
///
/// It is the first video in the folder, or else all pictures there in the order of their names.
final class ClipFrames: FrameSource {
    static let videoSuffixes: [String] = ["mp4", "mov", "m4v"]
    static let pictureSuffixes: [String] = ["jpg", "jpeg", "png"]

    let title: String
    var count: Int { return pictures.count }
    private let pictures: [Picture]
    private let detector = VisionDetector()

    /// Nil where the bundle has no clip.
    static func bundled(limit: Int) throws -> ClipFrames? {
        let folder: String = try AppSettings.text("ClipsFolder")
        guard let root = Bundle.main.url(forResource: folder, withExtension: nil) else { return nil }
        let found: [URL] =
            (try? FileManager.default.contentsOfDirectory(at: root, includingPropertiesForKeys: nil)) ?? []
        let files: [URL] = found.sorted { $0.lastPathComponent < $1.lastPathComponent }
        if let video = files.first(where: { videoSuffixes.contains($0.pathExtension.lowercased()) }) {
            return try ClipFrames(video, decoded(video, limit))
        }
        let pictures: [URL] = files.filter { pictureSuffixes.contains($0.pathExtension.lowercased()) }
        guard let first = pictures.first else { return nil }
        return try ClipFrames(first, pictures.prefix(limit).map { try PixelBuffers.picture(at: $0) })
    }

    private init(_ first: URL, _ pictures: [Picture]) throws {
        let name: String = first.lastPathComponent
        guard let size = pictures.first else { throw Refusal("'\(name)' cannot be decoded") }
        guard pictures.allSatisfy({ $0.width == size.width && $0.height == size.height }) else {
            throw Refusal("the pictures of the bundled clip are not all of the size of '\(name)'")
        }
        title = "bundled clip \(name)"
        self.pictures = pictures
    }

    private static func decoded(_ url: URL, _ limit: Int) throws -> [Picture] {
        let asset = AVURLAsset(url: url)
        guard let track = asset.tracks(withMediaType: .video).first else {
            throw Refusal("'\(url.lastPathComponent)' has no video")
        }
        let reader = try AVAssetReader(asset: asset)
        let output = AVAssetReaderTrackOutput(
            track: track,
            outputSettings: [kCVPixelBufferPixelFormatTypeKey as String: kCVPixelFormatType_32BGRA])
        reader.add(output)
        reader.startReading()
        var found: [Picture] = []
        while found.count < limit, let sample = output.copyNextSampleBuffer() {
            if let buffer = CMSampleBufferGetImageBuffer(sample) {
                found.append(try PixelBuffers.picture(of: buffer))
            }
        }
        reader.cancelReading()
        return found
    }

    func frame(_ number: Int) throws -> Picture {
        return pictures[number % pictures.count]
    }

    func detect(_ picture: Picture) throws -> [Box] {
        return try detector.detect(in: try PixelBuffers.buffer(of: picture))
    }
}

/// Frames that hold no face, with a box told instead of a detector: the times of everything but detection.
struct SyntheticFrames: FrameSource {
    let title: String = "synthetic frames, a told box instead of a detector"
    let count: Int = Int.max
    let width: Int
    let height: Int

    func frame(_ number: Int) throws -> Picture {
        var pixels = [UInt8](repeating: 0, count: width * height * 3)
        for row in 0..<height {
            for column in 0..<width {
                let place: Int = (row * width + column) * 3
                pixels[place] = UInt8((column + number) & 0xff)
                pixels[place + 1] = UInt8((row + 2 * number) & 0xff)
                pixels[place + 2] = UInt8((row ^ column) & 0xff)
            }
        }
        return Picture(width: width, height: height, pixels: pixels)
    }

    func detect(_ picture: Picture) throws -> [Box] {
        let side: Double = Double(min(width, height)) / 2
        return [Box(centreX: Double(width) / 2, centreY: Double(height) / 2, side: side)]
    }
}
