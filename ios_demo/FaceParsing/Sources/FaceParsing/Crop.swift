import Foundation

/// How a picture becomes a crop; the sidecar says which.
public enum ResizeRule: String, CaseIterable {
    case bilinear
    /// Whole blocks of pixels are averaged first where the picture is more than twice as fine as the crop.
    case area
}

extension Picture {
    /// Cuts a region out; what lies outside of the picture is black.
    public func cropped(_ matrix: Affine, size: Int, resize: String) throws -> Picture {
        guard let rule = ResizeRule(rawValue: resize) else {
            throw Refusal(
                "unknown resize rule '\(resize)'",
                hint: "rules are \(ResizeRule.allCases.map { $0.rawValue }.joined(separator: ", "))")
        }
        var part: Part? = nil
        if rule == .area {
            // Rounding must not turn 8 whole pixels into 7.
            let block: Int = Int(min(1 / matrix.scale + 1e-6, Double(max(width, height) + 1)))
            if block >= 2 {
                part = blockMeans(matrix, size: size, block: block)
            }
        }
        return sampled(part ?? blockMeans(matrix, size: size, block: 1), matrix, size: size)
    }

    /// Means of whole blocks of a part of the picture.
    private struct Part {
        let left: Int
        let top: Int
        let block: Int
        let wide: Int
        let high: Int
        let values: [Float]
    }

    /// What the crop shows and two blocks around it; nil where that is less than a block.
    private func blockMeans(_ matrix: Affine, size: Int, block: Int) -> Part? {
        let bounds: PixelBounds = PixelBounds.shown(
            by: matrix, size: size, height: height, width: width, spare: 2 * block)
        let wide: Int = (bounds.right - bounds.left) / block
        let high: Int = (bounds.bottom - bounds.top) / block
        guard wide > 0, high > 0 else { return nil }
        var values = [Float](repeating: 0, count: wide * high * 3)
        let share: Float = 1 / Float(block * block)
        pixels.withUnsafeBufferPointer { (source: UnsafeBufferPointer<UInt8>) in
            values.withUnsafeMutableBufferPointer { (target: inout UnsafeMutableBufferPointer<Float>) in
                for row in 0..<(high * block) {
                    let from: Int = ((bounds.top + row) * width + bounds.left) * 3
                    let to: Int = (row / block) * wide * 3
                    for column in 0..<(wide * block) {
                        let place: Int = to + (column / block) * 3
                        let at: Int = from + column * 3
                        target[place] += Float(source[at])
                        target[place + 1] += Float(source[at + 1])
                        target[place + 2] += Float(source[at + 2])
                    }
                }
                if block > 1 {
                    for index in 0..<target.count {
                        target[index] *= share
                    }
                }
            }
        }
        return Part(left: bounds.left, top: bounds.top, block: block, wide: wide, high: high, values: values)
    }

    private func sampled(_ found: Part?, _ matrix: Affine, size: Int) -> Picture {
        var result = Picture(width: size, height: size, pixels: [UInt8](repeating: 0, count: size * size * 3))
        guard let part = found else { return result }
        let middle: Double = Double(part.block - 1) / 2
        let toPicture = Affine(
            a: Double(part.block), b: 0, c: Double(part.left) + middle,
            d: 0, e: Double(part.block), f: Double(part.top) + middle)
        let toPart: Affine = matrix.after(toPicture).inverse()
        part.values.withUnsafeBufferPointer { (source: UnsafeBufferPointer<Float>) in
            result.pixels.withUnsafeMutableBufferPointer { (target: inout UnsafeMutableBufferPointer<UInt8>) in
                for row in 0..<size {
                    for column in 0..<size {
                        let x: Double = toPart.x(Double(column), Double(row))
                        let y: Double = toPart.y(Double(column), Double(row))
                        let sample = Sample(x, y, height: part.high, width: part.wide, replicate: false)
                        let place: Int = (row * size + column) * 3
                        for channel in 0..<3 {
                            let value: Double = sample.read(source, offset: channel, stride: 3)
                            target[place + channel] = byte(value.rounded(.toNearestOrEven))
                        }
                    }
                }
            }
        }
        return result
    }
}

/// Left, top, right and bottom pixel bounds in a picture, clipped to it.
struct PixelBounds {
    let left: Int
    let top: Int
    let right: Int
    let bottom: Int

    var isEmpty: Bool { return right <= left || bottom <= top }

    /// Of what a crop shows.
    static func shown(by matrix: Affine, size: Int, height: Int, width: Int, spare: Int) -> PixelBounds {
        let end: Double = Double(size) - 0.5
        return of(matrix.inverse(), (-0.5, -0.5, end, end), height: height, width: width, spare: spare)
    }

    /// Of a part of the crop: its left, top, right and bottom.
    static func of(
        _ toPicture: Affine, _ ends: (Double, Double, Double, Double), height: Int, width: Int, spare: Int
    ) -> PixelBounds {
        var xs: [Double] = []
        var ys: [Double] = []
        for x in [ends.0, ends.2] {
            for y in [ends.1, ends.3] {
                xs.append(toPicture.x(x, y))
                ys.append(toPicture.y(x, y))
            }
        }
        let across: (Int, Int) = limits(xs, length: width, spare: spare)
        let down: (Int, Int) = limits(ys, length: height, spare: spare)
        return PixelBounds(left: across.0, top: down.0, right: across.1, bottom: down.1)
    }

    private static func limits(_ places: [Double], length: Int, spare: Int) -> (Int, Int) {
        let lowest: Double = places.reduce(Double.infinity) { min($0, $1) }
        let highest: Double = places.reduce(-Double.infinity) { max($0, $1) }
        let low: Double = lowest.rounded(.down) - Double(spare)
        let high: Double = highest.rounded(.up) + 1 + Double(spare)
        return (clipped(low, length), clipped(high, length))
    }

    private static func clipped(_ value: Double, _ length: Int) -> Int {
        return Int(min(max(value, 0), Double(length)))
    }
}
