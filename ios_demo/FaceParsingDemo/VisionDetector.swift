import CoreVideo
import FaceParsing
import Vision

/// Faces by Vision, as boxes that the toolchain's detector would draw, the largest first.
final class VisionDetector {
    func detect(in buffer: CVPixelBuffer) throws -> [Box] {
        let request = VNDetectFaceLandmarksRequest()
        let handler = VNImageRequestHandler(cvPixelBuffer: buffer, orientation: .up, options: [:])
        try handler.perform([request])
        let size = CGSize(width: CVPixelBufferGetWidth(buffer), height: CVPixelBufferGetHeight(buffer))
        let found: [Box] = (request.results ?? []).compactMap { VisionDetector.box(of: $0, size) }
        return found.sorted { $0.side > $1.side }
    }

    /// Nil for a face whose eyes or mouth are not seen.
    private static func box(of face: VNFaceObservation, _ size: CGSize) -> Box? {
        guard let marks = face.landmarks, let left = centre(marks.leftEye, size),
            let right = centre(marks.rightEye, size), let mouth = centre(marks.outerLips, size)
        else { return nil }
        return Landmarks.box(oneEye: left, otherEye: right, mouth: mouth)
    }

    /// Mean of a part's points in pixels; Vision counts rows from below.
    private static func centre(_ part: VNFaceLandmarkRegion2D?, _ size: CGSize) -> (x: Double, y: Double)? {
        guard let region = part, region.pointCount > 0 else { return nil }
        let points: [CGPoint] = region.pointsInImage(imageSize: size)
        let count: Double = Double(points.count)
        let x: Double = points.reduce(0.0) { $0 + Double($1.x) } / count
        let y: Double = points.reduce(0.0) { $0 + Double($1.y) } / count
        return (x: x - 0.5, y: Double(size.height) - y - 0.5)
    }
}
