import Foundation

/// Class labels as a colour overlay.
public enum Overlay {
    public static let alpha: Double = 0.55
    static let full: Double = 255

    /// Blends the colour of every pixel's class over a picture; outlines are smoothed over one pixel (1-2-1).
    ///
    /// - Parameters:
    ///   - picture: changed.
    ///   - labels: of the same size.
    ///   - palette: a colour for each label; of the sidecar.
    ///   - alpha: opacity of the colours, 0-1.
    ///   - hidden: labels that are not drawn.
    public static func colorize(
        _ picture: inout Picture, labels: BytePlane, palette: [Color], alpha: Double = Overlay.alpha,
        hidden: Set<Int> = [0]
    ) throws {
        try checkShare(alpha, "opacity")
        guard labels.width == picture.width, labels.height == picture.height else {
            throw Refusal("labels of another size than the picture")
        }
        // Opacity, red, green and blue of each label; hidden ones are black and transparent.
        var table = [Int](repeating: 0, count: byteValues * 4)
        for (label, color) in palette.prefix(byteValues).enumerated() where !hidden.contains(label) {
            table[4 * label] = 255
            table[4 * label + 1] = Int(color.red)
            table[4 * label + 2] = Int(color.green)
            table[4 * label + 3] = Int(color.blue)
        }
        guard let rows = drawnRows(labels, table) else { return }
        let share: Double = (alpha * full).rounded(.toNearestOrEven)
        let width: Int = labels.width
        let height: Int = labels.height
        for row in max(rows.first - 1, 0)...min(rows.last + 1, height - 1) {
            let above: Int = mirrored(row - 1, height) * width
            let below: Int = mirrored(row + 1, height) * width
            for column in 0..<width {
                let left: Int = mirrored(column - 1, width)
                let right: Int = mirrored(column + 1, width)
                let middle: Int = row * width + column
                var sums: (Int, Int, Int, Int) = (0, 0, 0, 0)
                add(&sums, labels.values[above + left], table, 1)
                add(&sums, labels.values[above + column], table, 2)
                add(&sums, labels.values[above + right], table, 1)
                add(&sums, labels.values[row * width + left], table, 2)
                add(&sums, labels.values[middle], table, 4)
                add(&sums, labels.values[row * width + right], table, 2)
                add(&sums, labels.values[below + left], table, 1)
                add(&sums, labels.values[below + column], table, 2)
                add(&sums, labels.values[below + right], table, 1)
                if sums.0 == 0 { continue }
                let weight: Double = Double((sums.0 + 8) >> 4)
                let remains: Double = (full - share / full * weight).rounded(.toNearestOrEven)
                let pixel: Int = middle * 3
                picture.pixels[pixel] = mixed(sums.1, share, picture.pixels[pixel], remains)
                picture.pixels[pixel + 1] = mixed(sums.2, share, picture.pixels[pixel + 1], remains)
                picture.pixels[pixel + 2] = mixed(sums.3, share, picture.pixels[pixel + 2], remains)
            }
        }
    }

    /// First and last row with a label that is drawn; nil without any.
    private static func drawnRows(_ labels: BytePlane, _ table: [Int]) -> (first: Int, last: Int)? {
        var first: Int? = nil
        var last: Int = 0
        for row in 0..<labels.height {
            let line: ArraySlice<UInt8> = labels.values[(row * labels.width)..<((row + 1) * labels.width)]
            if line.contains(where: { table[4 * Int($0)] != 0 }) {
                first = first ?? row
                last = row
            }
        }
        guard let found = first else { return nil }
        return (first: found, last: last)
    }

    private static func add(_ sums: inout (Int, Int, Int, Int), _ label: UInt8, _ table: [Int], _ times: Int) {
        let place: Int = 4 * Int(label)
        sums.0 += times * table[place]
        sums.1 += times * table[place + 1]
        sums.2 += times * table[place + 2]
        sums.3 += times * table[place + 3]
    }

    private static func mixed(_ sum: Int, _ share: Double, _ before: UInt8, _ remains: Double) -> UInt8 {
        let smooth: Double = Double((sum + 8) >> 4)
        return byte(((smooth * share + Double(before) * remains) / full + 0.5).rounded(.down))
    }

    static func checkShare(_ value: Double, _ name: String) throws {
        guard value >= 0, value <= 1 else {
            throw Refusal("\(name) \(value) is not between 0 and 1", hint: "0.5 shows both")
        }
    }
}
