import Foundation

/// A face box that stays while the face is near: labels in a region that shakes would flicker.
public struct HeldBox {
    /// How far a face may be off, in units of the box, before the region moves; and how much larger or smaller.
    static let drift: Double = 0.12
    static let growth: Double = 1.2
    /// The region is placed for this many frames ahead.
    static let ahead: Double = 15
    /// Boxes that are remembered for the speed of a face.
    static let remembered: Int = 5

    /// The one to make the region from.
    public private(set) var box: Box
    private var latest: [Box] = []

    public init(_ first: Box) {
        box = Box(centreX: first.centreX, centreY: first.centreY, side: first.side)
    }

    /// Takes the newest box; says whether the region moves.
    public mutating func follow(_ next: Box) -> Bool {
        latest.append(next)
        if latest.count > HeldBox.remembered {
            latest.removeFirst()
        }
        guard isOff(next) else { return false }
        // Met halfway, a face that moves steadily moves the region half as often.
        let reach: Double = HeldBox.drift / 2 * next.side
        let steps: Double = Double(max(1, latest.count - 1))
        let factor: Double = HeldBox.ahead / 2 / steps
        let first: Box = latest[0]
        let alongX: Double = min(max((next.centreX - first.centreX) * factor, -reach), reach)
        let alongY: Double = min(max((next.centreY - first.centreY) * factor, -reach), reach)
        box = Box(centreX: next.centreX + alongX, centreY: next.centreY + alongY, side: next.side)
        return true
    }

    /// Whether a face there is too far from the middle of the region, or of another size.
    public func isOff(_ place: Box) -> Bool {
        let held: Double = box.side
        let far: Double = max(abs(place.centreX - box.centreX), abs(place.centreY - box.centreY))
        let ratio: Double = place.side / held
        return far > HeldBox.drift * held || ratio < 1 / HeldBox.growth || ratio > HeldBox.growth
    }
}

/// What a detector says differently from the mask of the same frame, for the masks to come.
public struct Correction: Equatable {
    static let mostScale: Double = 1.25
    static let mostShift: Double = 0.12

    /// Side of the detector's box in units of that of the mask's.
    public let scale: Double
    /// From the centre of the mask's box to that of the detector's, in units of the mask's side.
    public let shiftX: Double
    public let shiftY: Double

    public static let none = Correction(scale: 1, shiftX: 0, shiftY: 0)

    public init(scale: Double, shiftX: Double, shiftY: Double) {
        self.scale = scale
        self.shiftX = shiftX
        self.shiftY = shiftY
    }

    /// From two boxes of one face, within limits: a single detection may be wrong.
    public init(mask: Box, detected: Box) {
        let side: Double = mask.side
        let most: Double = Correction.mostShift
        scale = min(max(detected.side / side, 1 / Correction.mostScale), Correction.mostScale)
        shiftX = min(max((detected.centreX - mask.centreX) / side, -most), most)
        shiftY = min(max((detected.centreY - mask.centreY) / side, -most), most)
    }

    /// The box that the detector would draw.
    public func applied(to mask: Box) -> Box {
        let side: Double = mask.side
        return Box(
            centreX: mask.centreX + shiftX * side, centreY: mask.centreY + shiftY * side, side: scale * side)
    }
}

extension Box {
    /// Intersection over union (0-1).
    public func overlap(_ other: Box) -> Double {
        let wide: Double = min(x + width, other.x + other.width) - max(x, other.x)
        let high: Double = min(y + height, other.y + other.height) - max(y, other.y)
        let shared: Double = max(0, wide) * max(0, high)
        return min(1, shared / (width * height + other.width * other.height - shared))
    }
}
