// swift-tools-version: 5.9
import PackageDescription

let package = Package(
    name: "FaceParsing",
    platforms: [.iOS(.v16), .macOS(.v13)],
    products: [
        .library(name: "FaceParsing", targets: ["FaceParsing"])
    ],
    targets: [
        .target(name: "FaceParsing"),
        .testTarget(
            name: "FaceParsingTests",
            dependencies: ["FaceParsing"],
            resources: [.copy("Golden")]
        ),
    ]
)
