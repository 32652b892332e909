import FaceParsing
import UIKit

/// Colours of the effects, which the asset catalog holds.
enum EffectColors {
    static func lipstick() throws -> Color {
        return try named("Lipstick")
    }

    private static func named(_ name: String) throws -> Color {
        var red: CGFloat = 0
        var green: CGFloat = 0
        var blue: CGFloat = 0
        guard let found = UIColor(named: name), found.getRed(&red, green: &green, blue: &blue, alpha: nil) else {
            throw Refusal(Messages.noColor(name))
        }
        return Color(red: byte(red), green: byte(green), blue: byte(blue))
    }

    /// Wide-gamut colours lie beyond 0-1.
    private static func byte(_ share: CGFloat) -> UInt8 {
        return UInt8((min(max(share, 0), 1) * CGFloat(UInt8.max)).rounded())
    }
}
