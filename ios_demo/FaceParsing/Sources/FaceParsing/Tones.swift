import Foundation

/// A colour at every lightness: the table by which make-up replaces a colour and keeps shading.
///
/// Linear RGB has the primaries of sRGB, white point D65 (IEC 61966-2-1); L*a*b* is that of CIE 15.
public struct Tones {
    static let middleLightness: Double = 55
    static let largestShift: Double = 20
    static let largestGain: Double = 1
    static let halvings: Int = 20
    private static let toXYZ: [[Double]] = [
        [0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505],
    ]

    /// By the luma of the pixel.
    public let table: [Color]

    /// - Parameters:
    ///   - color: hue is this colour's.
    ///   - shift: how far the lightness of middle grey moves towards the colour's own, 0-1.
    public init(_ color: Color, shift: Double) {
        let white: [Double] = Tones.toXYZ.map { $0[0] + $0[1] + $0[2] }
        let back: [[Double]] = Tones.inverse(Tones.toXYZ)
        let own: [Double] = Tones.lab(
            [Double(color.red) / 255, Double(color.green) / 255, Double(color.blue) / 255], white)
        let wanted: Double = shift * (own[0] - Tones.middleLightness)
        let step: Double = min(max(wanted, -Tones.largestShift), Tones.largestShift)
        var made: [Color] = []
        for value in 0..<byteValues {
            let level: Double = Double(value) / 255
            let grey: Double = Tones.lab([level, level, level], white)[0]
            let lightness: Double = grey + step * 4 * (grey / 100) * (1 - grey / 100)
            // L* + 16 is proportional to the cube root of the luminance, and so are a* and b* of a paint in shade.
            let gain: Double = min((lightness + 16) / (own[0] + 16), Tones.largestGain)
            let a: Double = own[1] * gain
            let b: Double = own[2] * gain
            var low: Double = 0
            var high: Double = 1
            for _ in 0..<Tones.halvings {
                let middle: Double = (low + high) / 2
                let linear: [Double] = Tones.linear(lightness, a * middle, b * middle, white, back)
                if linear.allSatisfy({ $0 >= -1e-6 && $0 <= 1 + 1e-6 }) {
                    low = middle
                } else {
                    high = middle
                }
            }
            let found: [UInt8] = Tones.linear(lightness, a * low, b * low, white, back).map { Tones.encoded($0) }
            made.append(Color(red: found[0], green: found[1], blue: found[2]))
        }
        table = made
    }

    /// Pixels in another colour that keep their shading.
    public func recolored(_ picture: Picture) -> Picture {
        var result = picture
        for pixel in 0..<(picture.width * picture.height) {
            let color: Color = table[Int(
                luma(picture.pixels[3 * pixel], picture.pixels[3 * pixel + 1], picture.pixels[3 * pixel + 2]))]
            result.pixels[3 * pixel] = color.red
            result.pixels[3 * pixel + 1] = color.green
            result.pixels[3 * pixel + 2] = color.blue
        }
        return result
    }

    private static func encoded(_ value: Double) -> UInt8 {
        let linear: Double = min(max(value, 0), 1)
        let level: Double = linear <= 0.0031308 ? 12.92 * linear : 1.055 * pow(linear, 1 / 2.4) - 0.055
        return byte((255 * level).rounded(.toNearestOrEven))
    }

    private static func lab(_ encoded: [Double], _ white: [Double]) -> [Double] {
        let linear: [Double] = encoded.map { $0 <= 0.04045 ? $0 / 12.92 : pow(($0 + 0.055) / 1.055, 2.4) }
        let bend: Double = 6.0 / 29.0
        var root: [Double] = []
        for row in 0..<3 {
            let ratio: Double = product(toXYZ[row], linear) / white[row]
            root.append(ratio > bend * bend * bend ? cbrt(ratio) : ratio / (3 * bend * bend) + 4.0 / 29.0)
        }
        return [116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])]
    }

    /// Beyond 0-1 where sRGB has no such colour.
    private static func linear(
        _ lightness: Double, _ a: Double, _ b: Double, _ white: [Double], _ back: [[Double]]
    ) -> [Double] {
        let y: Double = (lightness + 16) / 116
        let roots: [Double] = [y + a / 500, y, y - b / 200]
        let bend: Double = 6.0 / 29.0
        var xyz: [Double] = []
        for row in 0..<3 {
            let root: Double = roots[row]
            let ratio: Double = root > bend ? root * root * root : 3 * bend * bend * (root - 4.0 / 29.0)
            xyz.append(ratio * white[row])
        }
        return back.map { product($0, xyz) }
    }

    private static func product(_ row: [Double], _ column: [Double]) -> Double {
        return row[0] * column[0] + row[1] * column[1] + row[2] * column[2]
    }

    private static func inverse(_ m: [[Double]]) -> [[Double]] {
        var cofactors = [[Double]](repeating: [Double](repeating: 0, count: 3), count: 3)
        for row in 0..<3 {
            for column in 0..<3 {
                let r1: Int = (row + 1) % 3
                let r2: Int = (row + 2) % 3
                let c1: Int = (column + 1) % 3
                let c2: Int = (column + 2) % 3
                cofactors[column][row] = m[r1][c1] * m[r2][c2] - m[r1][c2] * m[r2][c1]
            }
        }
        let whole: Double = m[0][0] * cofactors[0][0] + m[0][1] * cofactors[1][0] + m[0][2] * cofactors[2][0]
        return cofactors.map { (row: [Double]) -> [Double] in row.map { $0 / whole } }
    }
}
