import Foundation

/// Class probabilities of the frame before, and the crop that they belong to. One per face and video.
public struct PreviousMask {
    /// Sides of the kept mask and of the greys that are compared; of the engine, not of any network.
    public static let side: Int = 128
    public static let greySide: Int = 64
    static let relative: Double = 0.01
    static let absolute: Double = 0.5
    static let greyLevels: Double = 24
    static let leastMet: Double = 0.5

    private var mask: Planes? = nil
    private var grey = BytePlane(width: 0, height: 0)
    private var matrix: Affine = Affine.identity

    public init() {}

    /// Whether there is a mask to carry.
    public var isKnown: Bool { return mask != nil }

    /// The next crop is the first of its kind.
    public mutating func forget() {
        mask = nil
    }

    /// Keeps what a network said of a crop: (classes, side, side) and the crop shrunk to grey.
    public mutating func put(_ probabilities: Planes, grey: BytePlane, matrix: Affine) {
        mask = probabilities
        self.grey = grey
        self.matrix = matrix
    }

    /// What was said of the crop before, where its parts lie in the next one, as (classes, size, size).
    ///
    /// Nil after `forget`, and when most of the picture is another, as after a cut. Without a flow, only the
    /// region's own move is followed.
    public func carried(to now: Affine, grey nowGrey: BytePlane, size: Int, flow: Flow? = nil, back: Flow? = nil)
        -> Planes?
    {
        guard let before = mask else { return nil }
        return PreviousMask.carried(
            before, beforeGrey: grey, nowGrey: nowGrey, before: matrix, now: now, size: size, flow: flow, back: back
        )?.mask
    }

    /// The same of given arrays; beside the mask, what was met again.
    public static func carried(
        _ mask: Planes, beforeGrey: BytePlane, nowGrey: BytePlane, before: Affine, now: Affine, size: Int,
        flow: Flow?, back: Flow?
    ) -> (mask: Planes, met: BytePlane)? {
        let between: Affine = Affine.between(before: before, now: now)
        let greySide: Int = beforeGrey.width
        let seen: BytePlane = regrouped(beforeGrey, between, between.shrunkRegion(size: size, side: greySide))
        let met: BytePlane = metAgain(before: seen, now: nowGrey, flow: flow, back: back)
        let count: Int = met.values.reduce(0) { $0 + Int($1) }
        guard Double(count) >= leastMet * Double(met.values.count) else { return nil }
        // What is doubtful is no prior for its neighbours either.
        let sure: BytePlane = eroded(met)
        let region: Affine = between.shrunkRegion(size: size, side: mask.width)
        let small: Planes = carry(mask, flow: flow, region: region, met: sure)
        return (small.resized(to: size), sure)
    }

    /// The shrunk crop before, of the region of the next crop.
    private static func regrouped(_ grey: BytePlane, _ between: Affine, _ region: Affine) -> BytePlane {
        if between.isStill { return grey }
        var result = BytePlane(width: grey.width, height: grey.height)
        for row in 0..<grey.height {
            for column in 0..<grey.width {
                let x: Double = region.x(Double(column), Double(row))
                let y: Double = region.y(Double(column), Double(row))
                let sample = Sample(x, y, height: grey.height, width: grey.width, replicate: true)
                result.values[row * grey.width + column] = byte(sample.read(grey).rounded(.toNearestOrEven))
            }
        }
        return result
    }

    /// Where the flow leads to the same thing in the frame before: 1 or 0 for every pixel.
    ///
    /// The flows there and back cancel: |w + w'|^2 < 0.01 (|w|^2 + |w'|^2) + 0.5 (after Sundaram, Brox and
    /// Keutzer, ECCV 2010), and the greys are alike.
    public static func metAgain(before: BytePlane, now: BytePlane, flow: Flow?, back: Flow?) -> BytePlane {
        let width: Int = now.width
        let height: Int = now.height
        var seen = [Double](repeating: 0, count: width * height)
        var cancels = [Bool](repeating: false, count: width * height)
        for row in 0..<height {
            for column in 0..<width {
                let index: Int = row * width + column
                let thereX: Double = flow.map { Double($0.values[2 * index]) } ?? 0
                let thereY: Double = flow.map { Double($0.values[2 * index + 1]) } ?? 0
                let sample = Sample(
                    Double(column) + thereX, Double(row) + thereY, height: height, width: width, replicate: true)
                seen[index] = sample.read(before).rounded(.toNearestOrEven)
                var againX: Double = 0
                var againY: Double = 0
                if let returning = back {
                    returning.values.withUnsafeBufferPointer { (values: UnsafeBufferPointer<Float>) in
                        againX = sample.read(values, offset: 0, stride: 2)
                        againY = sample.read(values, offset: 1, stride: 2)
                    }
                }
                let lengths: Double = thereX * thereX + thereY * thereY + againX * againX + againY * againY
                let offX: Double = thereX + againX
                let offY: Double = thereY + againY
                cancels[index] = offX * offX + offY * offY < relative * lengths + absolute
            }
        }
        let ninth: [Double] = [Double](repeating: 1.0 / 3.0, count: 3)
        let meanSeen: [Double] = filtered(seen, height: height, width: width, kernel: ninth)
        let meanNow: [Double] = filtered(now.values.map { Double($0) }, height: height, width: width, kernel: ninth)
        var met = BytePlane(width: width, height: height)
        for index in 0..<(width * height) {
            let was: Double = meanSeen[index].rounded(.toNearestOrEven)
            let has: Double = meanNow[index].rounded(.toNearestOrEven)
            met.values[index] = cancels[index] && abs(was - has) < greyLevels ? 1 : 0
        }
        return met
    }

    /// The least of each pixel and its eight neighbours; beyond the border there is none.
    private static func eroded(_ plane: BytePlane) -> BytePlane {
        var result = plane
        for row in 0..<plane.height {
            for column in 0..<plane.width {
                var least: UInt8 = 1
                for y in max(row - 1, 0)...min(row + 1, plane.height - 1) {
                    for x in max(column - 1, 0)...min(column + 1, plane.width - 1) {
                        least = min(least, plane.values[y * plane.width + x])
                    }
                }
                result.values[row * plane.width + column] = least
            }
        }
        return result
    }

    /// Class probabilities moved along a flow and to another region; zero beyond, and where not met.
    ///
    /// - Parameters:
    ///   - mask: (classes, side, side), of the crop before.
    ///   - flow: of any size, in its own pixels; nil for none.
    ///   - region: new crop to the crop before, both of that side.
    ///   - met: of any size, 0 where nothing is to be carried to; nil for everywhere.
    public static func carry(_ mask: Planes, flow: Flow?, region: Affine, met: BytePlane?) -> Planes {
        let side: Int = mask.width
        var result = Planes(classes: mask.classes, height: side, width: side)
        let steps: [Double]? = flow.map { resizedSteps($0, side: side) }
        let still: Bool = region.isStill
        let last: Double = Double(side - 1)
        let area: Int = side * side
        mask.values.withUnsafeBufferPointer { (source: UnsafeBufferPointer<Float>) in
            for row in 0..<side {
                for column in 0..<side {
                    if let known = met, known.values[nearest(row, column, known, side)] == 0 { continue }
                    let index: Int = row * side + column
                    var x: Double = Double(column)
                    var y: Double = Double(row)
                    if let moved = steps {
                        x += moved[2 * index]
                        y += moved[2 * index + 1]
                    }
                    if still {
                        // A flow that leads out of the crop means its border.
                        x = min(max(x, 0), last)
                        y = min(max(y, 0), last)
                    } else {
                        let thereX: Double = region.x(x, y)
                        y = region.y(x, y)
                        x = thereX
                    }
                    let sample = Sample(x, y, height: side, width: side, replicate: false)
                    for label in 0..<mask.classes {
                        let value: Double = sample.read(source, offset: label * area, stride: 1)
                        result.values[label * area + index] = Float(value)
                    }
                }
            }
        }
        return result
    }

    private static func nearest(_ row: Int, _ column: Int, _ plane: BytePlane, _ side: Int) -> Int {
        return (row * plane.height / side) * plane.width + column * plane.width / side
    }

    /// A flow at another size, in pixels of that size: x and y of every pixel.
    private static func resizedSteps(_ flow: Flow, side: Int) -> [Double] {
        let gain: Double = Double(side) / Double(flow.height)
        var made = [Double](repeating: 0, count: side * side * 2)
        flow.values.withUnsafeBufferPointer { (source: UnsafeBufferPointer<Float>) in
            for row in 0..<side {
                for column in 0..<side {
                    let sample: Sample = Sample.resizing(
                        row, column, fromHeight: flow.height, fromWidth: flow.width, toHeight: side, toWidth: side)
                    let index: Int = row * side + column
                    made[2 * index] = sample.read(source, offset: 0, stride: 2) * gain
                    made[2 * index + 1] = sample.read(source, offset: 1, stride: 2) * gain
                }
            }
        }
        return made
    }
}

extension Sample {
    /// Where a pixel of a resized plane is read; the outer half of the border pixels is as they are.
    static func resizing(
        _ row: Int, _ column: Int, fromHeight: Int, fromWidth: Int, toHeight: Int, toWidth: Int
    ) -> Sample {
        let x: Double = (Double(column) + 0.5) * (Double(fromWidth) / Double(toWidth)) - 0.5
        let y: Double = (Double(row) + 0.5) * (Double(fromHeight) / Double(toHeight)) - 0.5
        return Sample(x, y, height: fromHeight, width: fromWidth, replicate: true)
    }
}

extension Planes {
    /// Bilinear at another size.
    public func resized(to size: Int) -> Planes {
        var result = Planes(classes: classes, height: size, width: size)
        let area: Int = height * width
        values.withUnsafeBufferPointer { (source: UnsafeBufferPointer<Float>) in
            result.values.withUnsafeMutableBufferPointer { (target: inout UnsafeMutableBufferPointer<Float>) in
                for row in 0..<size {
                    for column in 0..<size {
                        let sample: Sample = Sample.resizing(
                            row, column, fromHeight: height, fromWidth: width, toHeight: size, toWidth: size)
                        for label in 0..<classes {
                            let value: Double = sample.read(source, offset: label * area, stride: 1)
                            target[(label * size + row) * size + column] = Float(value)
                        }
                    }
                }
            }
        }
        return result
    }

    /// Means of areas: (classes, side, side).
    public func shrunk(to side: Int) -> Planes {
        var made: [Float] = []
        made.reserveCapacity(classes * side * side)
        let down = AreaWeights(old: height, new: side)
        let across = AreaWeights(old: width, new: side)
        values.withUnsafeBufferPointer { (source: UnsafeBufferPointer<Float>) in
            for label in 0..<classes {
                let plane: [Double] = areaMeans(
                    source, offset: label * height * width, height: height, width: width, down: down, across: across)
                made.append(contentsOf: plane.map { Float($0) })
            }
        }
        return Planes(classes: classes, height: side, width: side, values: made)
    }
}

extension Picture {
    /// Grey means of areas: (side, side).
    public func shrunkGrey(to side: Int) -> BytePlane {
        let values: [Float] = grey().values.map { Float($0) }
        let down = AreaWeights(old: height, new: side)
        let across = AreaWeights(old: width, new: side)
        let means: [Double] = values.withUnsafeBufferPointer { (source: UnsafeBufferPointer<Float>) -> [Double] in
            return areaMeans(source, offset: 0, height: height, width: width, down: down, across: across)
        }
        return BytePlane(width: side, height: side, values: means.map { byte(($0 + 0.5).rounded(.down)) })
    }
}
