import Foundation
import XCTest

@testable import FaceParsing

final class SidecarTests: XCTestCase {
    func testContracts() throws {
        try GoldenCase.check("sidecar") { (one: GoldenCase) in
            let data = Data(try one.input["text"].text().utf8)
            let sidecar: Sidecar = try Sidecar.decode(data, file: "face-parser")
            let contract: Contract = try Contract(sidecar, file: "face-parser")
            let wanted: JSONValue = one.expected
            XCTAssertEqual(sidecar.name, try wanted["name"].text(), one.name)
            XCTAssertEqual(sidecar.format, try wanted["format"].text(), one.name)
            XCTAssertEqual(sidecar.precision, try wanted["precision"].text(), one.name)
            XCTAssertEqual(sidecar.sha256, try wanted["sha256"].text(), one.name)
            XCTAssertEqual(sidecar.bytes, try wanted["bytes"].int(), one.name)
            XCTAssertEqual(contract.size, try wanted["size"].int(), one.name)
            XCTAssertEqual(contract.labels.count, try wanted["classes"].int(), one.name)
            XCTAssertEqual(contract.labels, try wanted["labels"].strings(), one.name)
            XCTAssertEqual(contract.palette, try wanted["palette"].list().map { try $0.color() }, one.name)
            XCTAssertEqual(contract.image, try wanted["image"].decoded(TensorSpec.self), one.name)
            XCTAssertEqual(contract.logits, try wanted["logits"].decoded(TensorSpec.self), one.name)
            XCTAssertEqual(
                contract.previous,
                try wanted["previous"].isNull ? nil : wanted["previous"].decoded(TensorSpec.self), one.name)
            XCTAssertEqual(
                contract.preprocessing, try wanted["preprocessing"].decoded(Preprocessing.self), one.name)
            XCTAssertEqual(
                sidecar.parity, try wanted["parity"].isNull ? nil : wanted["parity"].decoded(Parity.self), one.name)
        }
    }
}
