import Foundation

extension Planes {
    /// Sums of probabilities are rounded.
    private static let leastSlack: Float = 1e-3

    /// Labels of the pixels of a picture: the most probable class after bilinear interpolation.
    ///
    /// Interpolating probabilities gives smooth outlines where interpolating labels would give steps. Ties go to
    /// the lowest class. Labels that are there stay where this crop shows the background or nothing.
    ///
    /// - Parameters:
    ///   - matrix: picture to crop.
    ///   - labels: of the picture, changed.
    public func unwarp(_ matrix: Affine, into labels: inout BytePlane) {
        guard classes > 1 else { return }
        // The most probable of n classes has at least 1 / n in one of the pixels that it is interpolated from:
        // outside of their frame a class need not be looked at.
        let least: Float = 1 / Float(classes) - Planes.leastSlack
        let toPicture: Affine = matrix.inverse()
        var frames: [(label: Int, bounds: PixelBounds)] = []
        for label in 1..<classes {
            if let found = frame(label, least, toPicture, labels) {
                frames.append((label: label, bounds: found))
            }
        }
        guard let left = frames.map({ $0.bounds.left }).min(), let top = frames.map({ $0.bounds.top }).min(),
            let right = frames.map({ $0.bounds.right }).max(), let bottom = frames.map({ $0.bounds.bottom }).max()
        else { return }
        let wide: Int = right - left
        var best = [Double](repeating: 0, count: wide * (bottom - top))
        let all = PixelBounds(left: left, top: top, right: right, bottom: bottom)
        let area: Int = height * width
        values.withUnsafeBufferPointer { (source: UnsafeBufferPointer<Float>) in
            visit(all, matrix) { (row: Int, column: Int, sample: Sample) in
                best[(row - top) * wide + column - left] = sample.read(source, offset: 0, stride: 1)
            }
            for frame in frames {
                visit(frame.bounds, matrix) { (row: Int, column: Int, sample: Sample) in
                    let value: Double = sample.read(source, offset: frame.label * area, stride: 1)
                    let place: Int = (row - top) * wide + column - left
                    if value > best[place] {
                        best[place] = value
                        labels.values[row * labels.width + column] = UInt8(frame.label)
                    }
                }
            }
        }
    }

    /// Where every pixel of a part of the picture is read in the crop.
    private func visit(_ bounds: PixelBounds, _ matrix: Affine, _ use: (Int, Int, Sample) -> Void) {
        for row in bounds.top..<bounds.bottom {
            for column in bounds.left..<bounds.right {
                let x: Double = matrix.x(Double(column), Double(row))
                let y: Double = matrix.y(Double(column), Double(row))
                use(row, column, Sample(x, y, height: height, width: width, replicate: false))
            }
        }
    }

    /// Bounds in the picture of what is interpolated from `least` or more; nil for nothing.
    private func frame(_ label: Int, _ least: Float, _ toPicture: Affine, _ labels: BytePlane) -> PixelBounds? {
        var left: Int = width
        var right: Int = -1
        var top: Int = height
        var bottom: Int = -1
        let offset: Int = label * height * width
        for row in 0..<height {
            for column in 0..<width where values[offset + row * width + column] >= least {
                left = min(left, column)
                right = max(right, column)
                top = min(top, row)
                bottom = max(bottom, row)
            }
        }
        guard right >= 0 else { return nil }
        let ends: (Double, Double, Double, Double) = (
            Double(left) - 1, Double(top) - 1, Double(right) + 1, Double(bottom) + 1
        )
        let found: PixelBounds = PixelBounds.of(
            toPicture, ends, height: labels.height, width: labels.width, spare: 1)
        return found.isEmpty ? nil : found
    }
}
