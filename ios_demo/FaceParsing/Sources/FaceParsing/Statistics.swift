import Foundation

/// Figures of the samples of one stage, in their unit and in the order of time.
public struct Figures: Equatable {
    static let outlierScore: Double = 3.5
    static let normalMedianDeviation: Double = 1.4826
    static let normalMeanDeviation: Double = 1.2533
    static let driftBound: Double = 0.05
    static let driftSamples: Int = 9

    /// Quantiles are interpolated (Hyndman and Fan 1996, type 7).
    public let p50: Double
    public let p90: Double
    public let p99: Double
    public let mean: Double
    public let minimum: Double
    public let maximum: Double
    /// Median absolute deviation from the median, unscaled.
    public let spread: Double
    /// Modified z-score above 3.5 (Iglewicz and Hoaglin 1993); they stay in every figure.
    public let outliers: Int
    /// Median of the last third / median of the first third - 1; nil below nine samples.
    public let drift: Double?
    public let count: Int

    public var drifted: Bool {
        guard let moved = drift else { return false }
        return abs(moved) > Figures.driftBound
    }

    public init(_ samples: [Double]) throws {
        guard !samples.isEmpty, samples.allSatisfy({ $0.isFinite }) else {
            throw Refusal("figures need at least one sample, and finite ones")
        }
        let ordered: [Double] = samples.sorted()
        let middle: Double = Figures.quantile(ordered, 0.5)
        let total: Double = samples.reduce(0, +)
        let apart: [Double] = samples.map { abs($0 - middle) }
        p50 = middle
        p90 = Figures.quantile(ordered, 0.9)
        p99 = Figures.quantile(ordered, 0.99)
        mean = total / Double(samples.count)
        minimum = ordered[0]
        maximum = ordered[ordered.count - 1]
        spread = Figures.median(apart)
        outliers = Figures.countOutliers(apart)
        drift = Figures.driftOf(samples)
        count = samples.count
    }

    static func median(_ values: [Double]) -> Double {
        return quantile(values.sorted(), 0.5)
    }

    static func quantile(_ ordered: [Double], _ share: Double) -> Double {
        let place: Double = share * Double(ordered.count - 1)
        let below: Int = Int(place.rounded(.down))
        let above: Int = min(below + 1, ordered.count - 1)
        return ordered[below] + (ordered[above] - ordered[below]) * (place - Double(below))
    }

    /// Where more than half of the samples are equal, the mean deviation is used.
    private static func countOutliers(_ apart: [Double]) -> Int {
        var scale: Double = normalMedianDeviation * median(apart)
        if scale == 0 {
            scale = normalMeanDeviation * apart.reduce(0, +) / Double(apart.count)
        }
        guard scale > 0 else { return 0 }
        return apart.filter { $0 > outlierScore * scale }.count
    }

    private static func driftOf(_ samples: [Double]) -> Double? {
        guard samples.count >= driftSamples else { return nil }
        let third: Int = samples.count / 3
        let first: Double = median(Array(samples.prefix(third)))
        guard first > 0 else { return nil }
        return median(Array(samples.suffix(third))) / first - 1
    }
}
