import Foundation
import XCTest

@testable import FaceParsing

/// What the masks of a frame would say, in the order in which regions are parsed.
private final class Answers {
    var next: [MaskFace] = []
    /// For every parsed region, whether a mask of before was kept for it.
    var previous: [Bool] = []
    /// Number of the frame, and of the last one that shows another picture.
    var frame: Int = 0
    var cutIn: Int = -1
}

/// Says what it is told.
private final class ToldParser: RegionParser {
    let probabilities = Planes(classes: 0, height: 0, width: 0)
    let matrix: Affine = Affine.identity
    private let answers: Answers
    private(set) var isCut: Bool = false
    private var isKept: Bool = false
    private var lastFrame: Int = -1

    init(_ answers: Answers) {
        self.answers = answers
    }

    func reset() {
        isKept = false
    }

    func parse(_ square: Square, of picture: Picture, stages: Stages) throws {
        isCut = isKept && answers.frame == answers.cutIn && answers.frame != lastFrame
        answers.previous.append(isKept && !isCut)
        isKept = true
        lastFrame = answers.frame
    }

    func read(_ box: Box, height: Int, width: Int) -> MaskFace {
        guard !answers.next.isEmpty else {
            XCTFail("more regions are parsed than there are answers")
            return MaskFace(box: box, confidence: 0, lost: "no answer")
        }
        return answers.next.removeFirst()
    }
}

final class EngineTests: XCTestCase {
    func testSequences() throws {
        try GoldenCase.check("engine") { (one: GoldenCase) in
            let given: JSONValue = one.input
            let told = Answers()
            let preprocessing = Preprocessing(
                color: "RGB", mean: [], std: [], resize: "area",
                margin: try given["preprocessing"]["margin"].double(),
                shift: try given["preprocessing"]["shift"].double())
            let engine: FaceEngine = try FaceEngine(
                preprocessing: preprocessing, faces: given["faces"].int(),
                redetect: given["redetect"].isNull ? nil : given["redetect"].int()
            ) {
                return ToldParser(told)
            }
            let shape: [Int] = try given["shape"].ints()
            let black = [UInt8](repeating: 0, count: shape[0] * shape[1] * 3)
            let picture = Picture(width: shape[1], height: shape[0], pixels: black)
            let wanted: [JSONValue] = try one.expected["frames"].list()
            for (number, frame) in try given["frames"].list().enumerated() {
                let place: String = "\(one.name), frame \(number)"
                told.next = try frame["answers"].list().map { try $0.decoded(MaskFace.self) }
                told.previous = []
                told.frame += 1
                if try frame["cut"].flag() {
                    told.cutIn = told.frame
                }
                let boxes: [Box] = try frame["detections"].list().map { try $0.box() }
                let found: ParsedFrame = try engine.process(picture, stages: Stages()) { return boxes }
                XCTAssertTrue(told.next.isEmpty, "\(place): fewer regions are parsed than there are answers")
                try self.compare(found, told.previous, wanted[number], place)
            }
        }
    }

    private func compare(_ found: ParsedFrame, _ previous: [Bool], _ wanted: JSONValue, _ place: String) throws {
        XCTAssertEqual(found.detected, try wanted["detected"].flag(), place)
        XCTAssertEqual(previous, try wanted["previous"].list().map { try $0.flag() }, place)
        let squares: [JSONValue] = try wanted["parsed"].list()
        XCTAssertEqual(found.parsed.count, squares.count, place)
        for (square, other) in zip(found.parsed, squares) {
            try assertClose(square, other, place)
        }
        let faces: [JSONValue] = try wanted["faces"].list()
        XCTAssertEqual(found.faces.count, faces.count, place)
        for (face, other) in zip(found.faces, faces) {
            XCTAssertEqual(face.number, try other["number"].int(), place)
            try assertClose(face.box, other["box"], place)
            assertClose(face.confidence, try other["confidence"].double(), place)
        }
    }
}
