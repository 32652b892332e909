import Foundation

/// A face as its mask shows it.
public struct MaskFace: Codable, Equatable {
    /// In pixels of the picture, as the toolchain's detector would draw it.
    public let box: Box
    /// Mean probability (0-1) of "face" over the pixels where it is likely.
    public let confidence: Double
    /// Why there is no face to follow; "" when there is one.
    public let lost: String
    /// Why a detector should have a look; "" when there is no reason.
    public let doubt: String

    public init(box: Box, confidence: Double, lost: String = "", doubt: String = "") {
        self.box = box
        self.confidence = confidence
        self.lost = lost
        self.doubt = doubt
    }

    public var isLost: Bool { return !lost.isEmpty }
    public var isDoubtful: Bool { return !doubt.isEmpty }
}

/// Finds the face in class probabilities. Lengths are in units of the box's side, areas of its square.
public struct MaskReader {
    static let background: Int = 0
    static let likely: Double = 0.5
    static let leastFace: Double = 0.2
    static let leastPart: Double = 4e-4
    static let jump: Double = 1.5
    static let leastConfidence: Double = 0.85
    static let outline: Double = 0.05

    /// Classes of one part each: every eye by itself, the nose, all of the mouth.
    private let points: [[Int]]
    /// Which kind a part is of: eyes 0, nose 1, mouth 2.
    private let kindOfPoint: [Int]
    private let kinds: Int
    private let face: [Int]
    private let onlyFace: Bool

    public init(labels: [String]) {
        let eyes: [Int] = MaskReader.named(labels, FaceParts.eye)
        let noses: [Int] = MaskReader.named(labels, FaceParts.nose)
        let mouths: [Int] = MaskReader.named(labels, FaceParts.mouth)
        var parts: [[Int]] = []
        var kindsOfParts: [Int] = []
        for index in eyes {
            parts.append([index])
            kindsOfParts.append(0)
        }
        if !noses.isEmpty {
            parts.append(noses)
            kindsOfParts.append(1)
        }
        if !mouths.isEmpty {
            parts.append(mouths)
            kindsOfParts.append(2)
        }
        var known = Set<Int>()
        for words in [FaceParts.skin, FaceParts.eye, FaceParts.brow, FaceParts.nose, FaceParts.mouth] {
            known.formUnion(MaskReader.named(labels, words))
        }
        points = parts
        kindOfPoint = kindsOfParts
        kinds = Set<Int>(kindsOfParts).count
        face = known.sorted()
        onlyFace = known.count == labels.count - 1
    }

    /// The face in the answer to one crop.
    ///
    /// - Parameters:
    ///   - probabilities: (classes, side, side).
    ///   - matrix: from picture to those pixels.
    ///   - box: where the face was when the crop was made.
    ///   - height: of the picture.
    ///   - width: of the picture.
    public func read(
        _ probabilities: Planes, matrix: Affine, box: Box, height: Int, width: Int
    ) -> MaskFace {
        let scale: Double = matrix.scale
        let unit: Double = box.side * scale
        guard let found = Blob(facePlane(probabilities), probabilities),
            found.area >= MaskReader.leastFace * unit * unit
        else {
            return MaskFace(box: box, confidence: 0, lost: "the mask shows hardly any face")
        }
        var seen: [Blob] = []
        var seenKinds = Set<Int>()
        for (number, indices) in points.enumerated() {
            let plane: [Double] = MaskReader.sum(probabilities, indices)
            if let part = Blob(plane, probabilities), part.area >= MaskReader.leastPart * unit * unit {
                seen.append(part)
                seenKinds.insert(kindOfPoint[number])
            }
        }
        let side: Double = Landmarks.sideBySpread * found.spread
        var middleX: Double = found.x
        var middleY: Double = found.y
        var up: Double = Landmarks.upFromFace
        if !points.isEmpty && seen.count == points.count {
            let count: Double = Double(seen.count)
            middleX = seen.map { $0.x }.reduce(0, +) / count
            middleY = seen.map { $0.y }.reduce(0, +) / count
            up = Landmarks.upFromCentroid
        }
        let back: Affine = matrix.inverse()
        let centreY: Double = middleY - up * side
        let place = Box(
            centreX: back.x(middleX, centreY), centreY: back.y(middleX, centreY), side: side / scale)
        var lost: String = ""
        if seenKinds.count < min(2, kinds) {
            lost = "the mask has no eyes, nose or mouth"
        } else if side / unit < 1 / MaskReader.jump || side / unit > MaskReader.jump {
            lost = "the mask changed its size abruptly"
        } else if found.confidence < MaskReader.leastConfidence {
            lost = "the mask is not sure"
        }
        let most: Double = 4 * MaskReader.outline * Double(probabilities.width)
        let reaches: Bool = Double(found.onOutline(matrix, height: height, width: width)) > most
        let doubt: String = reaches ? "the mask reaches the edge of the region or of the picture" : ""
        return MaskFace(box: place, confidence: found.confidence, lost: lost, doubt: doubt)
    }

    /// Classes with one of the words in their names; an eyebrow is no eye.
    private static func named(_ labels: [String], _ words: [String]) -> [Int] {
        var found: [Int] = []
        for (index, label) in labels.enumerated() where index != background {
            let name: String = label.lowercased()
            let isBrow: Bool = FaceParts.brow.contains { name.contains($0) }
            let isNamed: Bool = words.contains { name.contains($0) }
            if isNamed && (words == FaceParts.brow || !isBrow) {
                found.append(index)
            }
        }
        return found
    }

    private func facePlane(_ probabilities: Planes) -> [Double] {
        if onlyFace {
            let area: Int = probabilities.height * probabilities.width
            return probabilities.values[0..<area].map { 1 - Double($0) }
        }
        return MaskReader.sum(probabilities, face)
    }

    private static func sum(_ probabilities: Planes, _ indices: [Int]) -> [Double] {
        let area: Int = probabilities.height * probabilities.width
        var total = [Double](repeating: 0, count: area)
        for index in indices {
            let offset: Int = index * area
            for pixel in 0..<area {
                total[pixel] += Double(probabilities.values[offset + pixel])
            }
        }
        return total
    }
}

/// Pixels where something is likely: area, centroid, spread, and mean probability there.
private struct Blob {
    let area: Double
    let x: Double
    let y: Double
    let spread: Double
    let confidence: Double
    let likely: [Bool]
    let width: Int
    let height: Int

    /// Nil where it is nowhere likely.
    init?(_ plane: [Double], _ sizes: Planes) {
        var count: Double = 0
        var sumX: Double = 0
        var sumY: Double = 0
        var squares: Double = 0
        var total: Double = 0
        var pixels = [Bool](repeating: false, count: plane.count)
        for row in 0..<sizes.height {
            for column in 0..<sizes.width {
                let value: Double = plane[row * sizes.width + column]
                if value >= MaskReader.likely {
                    pixels[row * sizes.width + column] = true
                    count += 1
                    sumX += Double(column)
                    sumY += Double(row)
                    squares += Double(column * column + row * row)
                    total += value
                }
            }
        }
        guard count > 0 else { return nil }
        area = count
        x = sumX / count
        y = sumY / count
        spread = max(squares / count - (sumX / count) * (sumX / count) - (sumY / count) * (sumY / count), 0)
            .squareRoot()
        confidence = total / count
        likely = pixels
        width = sizes.width
        height = sizes.height
    }

    /// How many pixels lie on the outline of what the (upright) crop shows of the picture.
    func onOutline(_ matrix: Affine, height pictureHeight: Int, width pictureWidth: Int) -> Int {
        let right: Double = Double(pictureWidth - 1)
        let bottom: Double = Double(pictureHeight - 1)
        let x0: Int = Blob.inside(matrix.x(0, 0), width)
        let y0: Int = Blob.inside(matrix.y(0, 0), height)
        let x1: Int = Blob.inside(matrix.x(right, bottom), width)
        let y1: Int = Blob.inside(matrix.y(right, bottom), height)
        var count: Int = 0
        for column in 0..<width {
            count += likely[y0 * width + column] ? 1 : 0
            count += likely[y1 * width + column] ? 1 : 0
        }
        for row in 0..<height {
            count += likely[row * width + x0] ? 1 : 0
            count += likely[row * width + x1] ? 1 : 0
        }
        return count
    }

    private static func inside(_ value: Double, _ count: Int) -> Int {
        return Int(min(max(value.rounded(.toNearestOrEven), 0), Double(count - 1)))
    }
}
