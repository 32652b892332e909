import Foundation
import XCTest

@testable import FaceParsing

final class OutputTests: XCTestCase {
    func testTensors() throws {
        try GoldenCase.check("output") { (one: GoldenCase) in
            let given: JSONValue = one.input
            let wanted: JSONValue = one.expected
            switch one.function {
            case "picture_input":
                let steps: JSONValue = given["preprocessing"]
                let preprocessing = Preprocessing(
                    color: try steps["color"].text(), mean: try steps["mean"].doubles(),
                    std: try steps["std"].doubles(), resize: "area", margin: 1, shift: 0)
                let found: TensorValues = try TensorCodec.pictureInput(
                    given["picture"].picture(), preprocessing, given["tensor"].decoded(TensorSpec.self))
                try self.compare(found, wanted["array"], one.name)
            case "mask_input":
                let found: TensorValues = try TensorCodec.maskInput(
                    given["planes"].planes(), given["tensor"].decoded(TensorSpec.self))
                try self.compare(found, wanted["array"], one.name)
            case "probabilities":
                let found: Planes = try TensorCodec.probabilities(
                    given["array"].tensorValues(), given["tensor"].decoded(TensorSpec.self))
                try assertClose(found, wanted["planes"], one.name)
            case "dequantize":
                let found: Planes = try TensorCodec.dequantized(
                    given["array"].tensorValues(), given["tensor"].decoded(TensorSpec.self))
                try assertClose(found, wanted["planes"], one.name)
            case "argmax":
                let found: BytePlane = try given["planes"].planes().mostProbable()
                try assertBytes(found.values, wanted["labels"], in: wanted, one.name)
            default:
                throw GoldenError(text: "no function '\(one.function)'")
            }
        }
    }

    private func compare(_ found: TensorValues, _ wanted: JSONValue, _ name: String) throws {
        switch (found, try wanted.tensorValues()) {
        case (.floats(let have), .floats(let other)):
            assertClose(have.map { Double($0) }, other.map { Double($0) }, name)
        case (let have, let other):
            XCTAssertEqual(have, other, name)
        }
    }

    func testLabels() throws {
        try GoldenCase.check("unwarp") { (one: GoldenCase) in
            let given: JSONValue = one.input
            let shape: [Int] = try given["shape"].ints()
            var labels = BytePlane(width: shape[1], height: shape[0])
            if !given["labels"].isNull {
                labels = try given["labels"].bytePlane()
            }
            try given["probabilities"].planes().unwarp(given["matrix"].matrix(), into: &labels)
            try assertBytes(labels.values, one.expected["labels"], in: one.expected, one.name)
        }
    }
}
