import Foundation

/// Runs a model file. What the numbers mean is the caller's to know, from the sidecar.
public protocol Network: AnyObject {
    /// The output tensor for input tensors by name, all in the order and element type of the sidecar.
    func run(_ inputs: [String: TensorValues]) throws -> TensorValues
}

/// A face parser that runs picture after picture and remembers the mask before. One per face.
public final class FaceParser: RegionParser {
    public private(set) var probabilities: Planes
    public private(set) var matrix: Affine = Affine.identity
    public private(set) var isCut: Bool = false

    private let contract: Contract
    private let network: Network
    private let reader: MaskReader
    private var before = PreviousMask()
    private var small: Planes

    public init(_ contract: Contract, _ network: Network) {
        self.contract = contract
        self.network = network
        self.reader = MaskReader(labels: contract.labels)
        let classes: Int = contract.labels.count
        self.probabilities = Planes(classes: classes, height: contract.size, width: contract.size)
        self.small = Planes(classes: classes, height: PreviousMask.side, width: PreviousMask.side)
    }

    public func reset() {
        before.forget()
    }

    public func parse(_ square: Square, of picture: Picture, stages: Stages) throws {
        let size: Int = contract.size
        let now = Affine(cropping: square, size: size)
        var inputs: [String: TensorValues] = [:]
        var grey: BytePlane? = nil
        isCut = false
        try stages.measure(.crop) {
            let cut: Picture = try picture.cropped(now, size: size, resize: contract.preprocessing.resize)
            inputs[contract.image.name] = try TensorCodec.pictureInput(cut, contract.preprocessing, contract.image)
            if let previous = contract.previous {
                let shrunk: BytePlane = cut.shrunkGrey(to: PreviousMask.greySide)
                let carried: Planes? = before.carried(to: now, grey: shrunk, size: size)
                isCut = carried == nil && before.isKnown
                let known: Planes = carried ?? Planes(classes: contract.labels.count, height: size, width: size)
                inputs[previous.name] = try TensorCodec.maskInput(known, previous)
                grey = shrunk
            }
        }
        let output: TensorValues = try stages.measure(.inference) { try network.run(inputs) }
        try stages.measure(.unwarp) {
            probabilities = try TensorCodec.probabilities(output, contract.logits)
            matrix = now
            small = probabilities.shrunk(to: PreviousMask.side)
            if let shown = grey {
                before.put(small, grey: shown, matrix: now)
            }
        }
    }

    public func read(_ box: Box, height: Int, width: Int) -> MaskFace {
        let toSmall: Affine = matrix.shrunk(size: contract.size, side: PreviousMask.side)
        return reader.read(small, matrix: toSmall, box: box, height: height, width: width)
    }
}
