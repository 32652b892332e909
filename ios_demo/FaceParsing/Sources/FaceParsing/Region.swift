import Foundation

/// A face in pixels of the picture; `x` and `y` are its left and its upper edge.
public struct Box: Codable, Equatable {
    public let x: Double
    public let y: Double
    public let width: Double
    public let height: Double

    public init(x: Double, y: Double, width: Double, height: Double) {
        self.x = x
        self.y = y
        self.width = width
        self.height = height
    }

    /// The square box with that centre.
    public init(centreX: Double, centreY: Double, side: Double) {
        self.init(x: centreX - side / 2, y: centreY - side / 2, width: side, height: side)
    }

    public var centreX: Double { return x + width / 2 }
    public var centreY: Double { return y + height / 2 }
    /// The longer side, in which the contract's lengths are given.
    public var side: Double { return max(width, height) }
}

/// An upright square in the picture, which may reach beyond it.
public struct Square: Codable, Equatable {
    public let x: Double
    public let y: Double
    public let side: Double

    public init(x: Double, y: Double, side: Double) {
        self.x = x
        self.y = y
        self.side = side
    }

    /// Region of interest of a face: margin and shift in units of the longer side of the box.
    public init(around box: Box, margin: Double, shift: Double) {
        let unit: Double = box.side
        let side: Double = margin * unit
        self.init(x: box.centreX - side / 2, y: box.centreY + shift * unit - side / 2, side: side)
    }

    /// The nearest square whose edges lie between pixels; halves go to even numbers.
    public func whole() -> Square {
        let rounded: Double = max(1, side.rounded(.toNearestOrEven))
        let middleX: Double = x + side / 2
        let middleY: Double = y + side / 2
        return Square(
            x: (middleX - rounded / 2).rounded(.toNearestOrEven),
            y: (middleY - rounded / 2).rounded(.toNearestOrEven),
            side: rounded)
    }

    /// The smallest square that holds the whole picture, centred on it.
    public static func holding(height: Int, width: Int) -> Square {
        return centred(height: height, width: width, side: max(height, width))
    }

    /// The largest square inside the picture, centred.
    public static func inside(height: Int, width: Int) -> Square {
        return centred(height: height, width: width, side: min(height, width))
    }

    private static func centred(height: Int, width: Int, side: Int) -> Square {
        return Square(x: Double(width - side) / 2, y: Double(height - side) / 2, side: Double(side))
    }
}

/// A 2 x 3 matrix ((a, b, c), (d, e, f)); pixel centres are at whole numbers.
public struct Affine: Equatable {
    public var a: Double
    public var b: Double
    public var c: Double
    public var d: Double
    public var e: Double
    public var f: Double

    public static let identity = Affine(a: 1, b: 0, c: 0, d: 0, e: 1, f: 0)

    public init(a: Double, b: Double, c: Double, d: Double, e: Double, f: Double) {
        self.a = a
        self.b = b
        self.c = c
        self.d = d
        self.e = e
        self.f = f
    }

    /// From picture pixels to pixels of a crop of `size` x `size`.
    public init(cropping square: Square, size: Int) {
        let scale: Double = Double(size) / square.side
        self.init(
            a: scale, b: 0, c: scale * (0.5 - square.x) - 0.5,
            d: 0, e: scale, f: scale * (0.5 - square.y) - 0.5)
    }

    public var determinant: Double { return a * e - b * d }
    /// Length in the crop of one pixel of the picture.
    public var scale: Double { return abs(determinant).squareRoot() }

    public func inverse() -> Affine {
        let whole: Double = determinant
        let ia: Double = e / whole
        let ib: Double = -b / whole
        let id: Double = -d / whole
        let ie: Double = a / whole
        return Affine(a: ia, b: ib, c: -(ia * c + ib * f), d: id, e: ie, f: -(id * c + ie * f))
    }

    /// This map after another one.
    public func after(_ first: Affine) -> Affine {
        return Affine(
            a: a * first.a + b * first.d, b: a * first.b + b * first.e, c: a * first.c + b * first.f + c,
            d: d * first.a + e * first.d, e: d * first.b + e * first.e, f: d * first.c + e * first.f + f)
    }

    public func x(_ px: Double, _ py: Double) -> Double { return a * px + b * py + c }
    public func y(_ px: Double, _ py: Double) -> Double { return d * px + e * py + f }

    /// From a picture to a crop of `size` pixels, as one to the crop shrunk to `side`.
    public func shrunk(size: Int, side: Int) -> Affine {
        let scale: Double = Double(side) / Double(size)
        let middle: Double = 0.5 * scale - 0.5
        return Affine(
            a: scale * a, b: scale * b, c: scale * c + middle,
            d: scale * d, e: scale * e, f: scale * f + middle)
    }

    /// From a crop to the crop before, of their maps from the picture.
    public static func between(before: Affine, now: Affine) -> Affine {
        return before.after(now.inverse())
    }

    /// Between crops of `size` pixels, as one between them when they are shrunk to `side`.
    public func shrunkRegion(size: Int, side: Int) -> Affine {
        let scale: Double = Double(side) / Double(size)
        let middle: Double = 0.5 / scale - 0.5
        return Affine(
            a: a, b: b, c: scale * (a * middle + b * middle + c + 0.5) - 0.5,
            d: d, e: e, f: scale * (d * middle + e * middle + f + 0.5) - 0.5)
    }

    /// Whether two crops are the same, to a millionth of a pixel.
    public var isStill: Bool {
        let parts: [Double] = [a - 1, b, c, d, e - 1, f]
        return parts.allSatisfy { abs($0) < 1e-6 }
    }
}
