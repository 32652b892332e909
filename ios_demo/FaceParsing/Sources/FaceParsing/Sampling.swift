import Foundation

/// Four pixels and their shares: bilinear interpolation at one place.
struct Sample {
    var first: Int = 0
    var second: Int = 0
    var third: Int = 0
    var fourth: Int = 0
    var firstShare: Double = 0
    var secondShare: Double = 0
    var thirdShare: Double = 0
    var fourthShare: Double = 0

    /// With `replicate` the border lies beyond the border, else zero does.
    init(_ x: Double, _ y: Double, height: Int, width: Int, replicate: Bool) {
        guard x.isFinite, y.isFinite, height > 0, width > 0 else { return }
        // Far outside of the picture a place need not fit into an Int.
        let nearX: Double = min(max(x, -4), Double(width) + 4)
        let nearY: Double = min(max(y, -4), Double(height) + 4)
        let left: Int = Int(nearX.rounded(.down))
        let top: Int = Int(nearY.rounded(.down))
        let right: Double = nearX - Double(left)
        let lower: Double = nearY - Double(top)
        let x0: Int = min(max(left, 0), width - 1)
        let x1: Int = min(max(left + 1, 0), width - 1)
        let y0: Int = min(max(top, 0), height - 1)
        let y1: Int = min(max(top + 1, 0), height - 1)
        first = y0 * width + x0
        second = y0 * width + x1
        third = y1 * width + x0
        fourth = y1 * width + x1
        var left0: Double = 1 - right
        var left1: Double = right
        var top0: Double = 1 - lower
        var top1: Double = lower
        if !replicate {
            if left < 0 || left >= width { left0 = 0 }
            if left + 1 < 0 || left + 1 >= width { left1 = 0 }
            if top < 0 || top >= height { top0 = 0 }
            if top + 1 < 0 || top + 1 >= height { top1 = 0 }
        }
        firstShare = top0 * left0
        secondShare = top0 * left1
        thirdShare = top1 * left0
        fourthShare = top1 * left1
    }

    /// Of numbers that lie `stride` apart and begin at `offset`.
    func read(_ values: UnsafeBufferPointer<Float>, offset: Int, stride: Int) -> Double {
        var sum: Double = firstShare * Double(values[offset + first * stride])
        sum += secondShare * Double(values[offset + second * stride])
        sum += thirdShare * Double(values[offset + third * stride])
        sum += fourthShare * Double(values[offset + fourth * stride])
        return sum
    }

    /// Of one plane of bytes.
    func read(_ plane: BytePlane) -> Double {
        var sum: Double = firstShare * Double(plane.values[first])
        sum += secondShare * Double(plane.values[second])
        sum += thirdShare * Double(plane.values[third])
        sum += fourthShare * Double(plane.values[fourth])
        return sum
    }
}

/// A byte of a number, which may lie beyond.
func byte(_ value: Double) -> UInt8 {
    return UInt8(min(max(value, 0), 255))
}

/// The index that a place beyond the border means when the border is a mirror that is not repeated itself.
func mirrored(_ index: Int, _ count: Int) -> Int {
    if count == 1 { return 0 }
    var place: Int = index
    while place < 0 || place >= count {
        place = place < 0 ? -place : 2 * (count - 1) - place
    }
    return place
}

/// Rows and columns with one symmetric kernel; the border is a mirror.
func filtered(_ values: [Double], height: Int, width: Int, kernel: [Double]) -> [Double] {
    let reach: Int = kernel.count / 2
    var middle = [Double](repeating: 0, count: values.count)
    for row in 0..<height {
        for offset in 0..<kernel.count {
            let from: Int = mirrored(row + offset - reach, height) * width
            let weight: Double = kernel[offset]
            for column in 0..<width {
                middle[row * width + column] += weight * values[from + column]
            }
        }
    }
    var result = [Double](repeating: 0, count: values.count)
    for offset in 0..<kernel.count {
        let weight: Double = kernel[offset]
        for column in 0..<width {
            let from: Int = mirrored(column + offset - reach, width)
            for row in 0..<height {
                result[row * width + column] += weight * middle[row * width + from]
            }
        }
    }
    return result
}

/// Share of each old pixel in each new one: where it begins, and the shares from there on.
struct AreaWeights {
    let start: [Int]
    let shares: [[Double]]

    init(old: Int, new: Int) {
        let step: Double = Double(old) / Double(new)
        var starts: [Int] = []
        var rows: [[Double]] = []
        for index in 0..<new {
            let low: Double = Double(index) * step
            let high: Double = Double(index + 1) * step
            let first: Int = min(Int(low), old - 1)
            let last: Int = min(Int(high.rounded(.up)), old)
            var row: [Double] = []
            for pixel in first..<max(last, first + 1) {
                let covered: Double = min(high, Double(pixel + 1)) - max(low, Double(pixel))
                row.append(max(covered, 0) / step)
            }
            starts.append(first)
            rows.append(row)
        }
        start = starts
        shares = rows
    }
}

/// Mean over the area that each of fewer pixels covers; pixels in part count in part.
func areaMeans(
    _ values: UnsafeBufferPointer<Float>, offset: Int, height: Int, width: Int, down: AreaWeights, across: AreaWeights
) -> [Double] {
    let high: Int = down.start.count
    let wide: Int = across.start.count
    var result = [Double](repeating: 0, count: high * wide)
    for row in 0..<high {
        let rows: [Double] = down.shares[row]
        for column in 0..<wide {
            let columns: [Double] = across.shares[column]
            var sum: Double = 0
            for y in 0..<rows.count {
                let from: Int = offset + (down.start[row] + y) * width + across.start[column]
                for x in 0..<columns.count {
                    sum += rows[y] * columns[x] * Double(values[from + x])
                }
            }
            result[row * wide + column] = sum
        }
    }
    return result
}

/// Luma (ITU-R BT.601) in 1 / 2^15 of whole numbers.
func luma(_ red: UInt8, _ green: UInt8, _ blue: UInt8) -> UInt8 {
    let total: Int = 9798 * Int(red) + 19235 * Int(green) + 3735 * Int(blue)
    return UInt8((total + 16384) >> 15)
}

extension Picture {
    /// Luma of every pixel.
    public func grey() -> BytePlane {
        var result = BytePlane(width: width, height: height)
        for index in 0..<(width * height) {
            result.values[index] = luma(pixels[3 * index], pixels[3 * index + 1], pixels[3 * index + 2])
        }
        return result
    }
}
