import Foundation

/// From eyes and mouth, or from a mask, to the box that the toolchain's detector would draw: the contract gives
/// the region of interest in units of that box. The factors are those of `toolchain/face/landmarks.py`.
public enum Landmarks {
    static let sideByPoints: Double = 1.742
    static let upFromPoints: Double = 0.0955
    static let sideBySpread: Double = 2.760
    static let upFromCentroid: Double = 0.029
    static let upFromFace: Double = 0.002

    /// The box of a face whose eyes and mouth are known, in pixels of the picture.
    public static func box(
        oneEye: (x: Double, y: Double), otherEye: (x: Double, y: Double), mouth: (x: Double, y: Double)
    ) -> Box {
        let eyesX: Double = (oneEye.x + otherEye.x) / 2
        let eyesY: Double = (oneEye.y + otherEye.y) / 2
        let downX: Double = mouth.x - eyesX
        let downY: Double = mouth.y - eyesY
        let acrossX: Double = oneEye.x - otherEye.x
        let acrossY: Double = oneEye.y - otherEye.y
        let across: Double = acrossX * acrossX + acrossY * acrossY
        let down: Double = downX * downX + downY * downY
        let side: Double = sideByPoints * (across + down).squareRoot()
        let length: Double = down > 0 ? down.squareRoot() : 1
        let up: Double = upFromPoints * side / length
        return Box(
            centreX: eyesX + downX * 0.5 - up * downX, centreY: eyesY + downY * 0.5 - up * downY, side: side)
    }
}

/// Words by which the classes of facial parts are known.
public enum FaceParts {
    /// A class that only face parsers have.
    public static let mark: String = "nose"
    public static let upperLip: String = "upper lip"
    public static let innerMouth: String = "inner mouth"
    public static let lowerLip: String = "lower lip"

    static let skin: [String] = ["skin"]
    static let eye: [String] = ["eye"]
    static let brow: [String] = ["brow"]
    static let nose: [String] = ["nose"]
    static let mouth: [String] = ["lip", "mouth"]
}
