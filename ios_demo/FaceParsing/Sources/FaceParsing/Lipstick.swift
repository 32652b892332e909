import Foundation

/// Colours the lips and keeps their shading; teeth and tongue are left as they are.
public struct Lipstick {
    public static let strength: Double = 0.7
    static let low: Double = 0.3
    static let high: Double = 0.8
    /// Deviation, in pixels of the crop, of the Gaussian that softens the outline.
    static let feather: Double = 1.3
    static let shift: Double = 0.6
    static let smallestDeviation: Double = 0.15
    static let neverFloor: Double = 0.2
    static let neverMargin: Double = 0.25
    static let full: Double = 255

    private let upper: Int
    private let inner: Int
    private let lower: Int
    private let tones: Tones
    private let strength: Double

    /// - Parameters:
    ///   - labels: of the sidecar.
    ///   - color: of the paint.
    ///   - strength: largest opacity, 0-1.
    public init(labels: [String], color: Color, strength: Double = Lipstick.strength) throws {
        try Overlay.checkShare(strength, "strength")
        upper = try Lipstick.index(FaceParts.upperLip, labels)
        lower = try Lipstick.index(FaceParts.lowerLip, labels)
        inner = try Lipstick.index(FaceParts.innerMouth, labels)
        tones = Tones(color, shift: Lipstick.shift)
        self.strength = strength
    }

    private static func index(_ name: String, _ labels: [String]) throws -> Int {
        guard let found = labels.firstIndex(of: name) else {
            throw Refusal(
                "this network has no class '\(name)'", hint: "its classes are \(labels.joined(separator: ", "))")
        }
        return found
    }

    /// Paints one face.
    public func paint(_ picture: inout Picture, probabilities: Planes, matrix: Affine) {
        let opacity: BytePlane = coverage(probabilities, matrix, height: picture.height, width: picture.width)
        for pixel in 0..<opacity.values.count where opacity.values[pixel] > 0 {
            let weight: Double = Double(opacity.values[pixel])
            let place: Int = 3 * pixel
            let red: UInt8 = picture.pixels[place]
            let green: UInt8 = picture.pixels[place + 1]
            let blue: UInt8 = picture.pixels[place + 2]
            let color: Color = tones.table[Int(luma(red, green, blue))]
            picture.pixels[place] = Lipstick.mixed(red, color.red, weight)
            picture.pixels[place + 1] = Lipstick.mixed(green, color.green, weight)
            picture.pixels[place + 2] = Lipstick.mixed(blue, color.blue, weight)
        }
    }

    private static func mixed(_ below: UInt8, _ above: UInt8, _ weight: Double) -> UInt8 {
        let sum: Double = Double(below) * (full - weight) + Double(above) * weight
        return byte((sum / full + 0.5).rounded(.down))
    }

    /// Opacity of every pixel of a picture: a smooth rising function of the interpolated probability.
    public func coverage(_ probabilities: Planes, _ matrix: Affine, height: Int, width: Int) -> BytePlane {
        var result = BytePlane(width: width, height: height)
        let rows: Int = probabilities.height
        let columns: Int = probabilities.width
        let area: Int = rows * columns
        var lips = [Double](repeating: 0, count: area)
        for pixel in 0..<area {
            lips[pixel] =
                Double(probabilities.values[upper * area + pixel]) + Double(probabilities.values[lower * area + pixel])
        }
        guard strength > 0, (lips.max() ?? 0) > Lipstick.low else { return result }
        // A crop finer than the picture would alias without this smoothing.
        let smoothing: Double = 0.5 * max(matrix.scale * matrix.scale - 1, 0).squareRoot()
        let more: Double = smoothing > Lipstick.smallestDeviation ? smoothing : 0
        let deviation: Double = (Lipstick.feather * Lipstick.feather + more * more).squareRoot()
        let soft: [Float] = filtered(lips, height: rows, width: columns, kernel: Lipstick.gaussian(deviation))
            .map { Float($0) }
        guard let bounds = painted(soft, rows, columns, matrix, height: height, width: width) else { return result }
        soft.withUnsafeBufferPointer { (outline: UnsafeBufferPointer<Float>) in
            probabilities.values.withUnsafeBufferPointer { (source: UnsafeBufferPointer<Float>) in
                for row in bounds.top..<bounds.bottom {
                    for column in bounds.left..<bounds.right {
                        let x: Double = matrix.x(Double(column), Double(row))
                        let y: Double = matrix.y(Double(column), Double(row))
                        let sample = Sample(x, y, height: rows, width: columns, replicate: false)
                        let share: Double =
                            Lipstick.ramp(sample.read(outline, offset: 0, stride: 1), Lipstick.low, Lipstick.high)
                            / Lipstick.full
                        if share == 0 { continue }
                        let rising: Double = share * share * (3 - 2 * share)
                        let opacity: Double = (Lipstick.full * strength * rising).rounded(.toNearestOrEven)
                        let one: Double = sample.read(source, offset: upper * area, stride: 1)
                        let other: Double = sample.read(source, offset: lower * area, stride: 1)
                        let never: Double = sample.read(source, offset: inner * area, stride: 1)
                        let ahead: Double = max(max(one, other), Lipstick.neverFloor) - never
                        let lead: Double = Lipstick.ramp(ahead, 0, Lipstick.neverMargin)
                        result.values[row * width + column] = byte(
                            (opacity * lead / Lipstick.full).rounded(.toNearestOrEven))
                    }
                }
            }
        }
        return result
    }

    /// Bounds in the picture of what is interpolated from more than the lowest probability; nil for nothing.
    private func painted(
        _ soft: [Float], _ rows: Int, _ columns: Int, _ matrix: Affine, height: Int, width: Int
    ) -> PixelBounds? {
        var left: Int = columns
        var right: Int = -1
        var top: Int = rows
        var bottom: Int = -1
        for row in 0..<rows {
            for column in 0..<columns where Double(soft[row * columns + column]) > Lipstick.low {
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
        let found: PixelBounds = PixelBounds.of(matrix.inverse(), ends, height: height, width: width, spare: 1)
        return found.isEmpty ? nil : found
    }

    private static func ramp(_ value: Double, _ low: Double, _ high: Double) -> Double {
        let step: Double = (full * (value - low) / (high - low)).rounded(.toNearestOrEven)
        return min(max(step, 0), full)
    }

    /// Kernel as wide as four deviations on each side, of an odd number of weights that add up to one.
    private static func gaussian(_ deviation: Double) -> [Double] {
        let size: Int = Int((8 * deviation + 1).rounded(.toNearestOrEven)) | 1
        var weights: [Double] = []
        for index in 0..<size {
            let far: Double = Double(index - size / 2)
            weights.append(exp(-(far * far) / (2 * deviation * deviation)))
        }
        let total: Double = weights.reduce(0, +)
        return weights.map { $0 / total }
    }
}
