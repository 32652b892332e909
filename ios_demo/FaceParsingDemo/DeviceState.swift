import Foundation
import UIKit

/// What a report says about the device.
enum DeviceState {
    static var thermal: String {
        switch ProcessInfo.processInfo.thermalState {
        case .nominal: return "nominal"
        case .fair: return "fair"
        case .serious: return "serious"
        case .critical: return "critical"
        @unknown default: return "unknown"
        }
    }

    static var system: String {
        return "\(UIDevice.current.systemName) \(UIDevice.current.systemVersion)"
    }

    /// The maker's name for the kind of device.
    static var machine: String {
        var names = utsname()
        uname(&names)
        let bytes: [UInt8] = withUnsafeBytes(of: &names.machine) { (raw: UnsafeRawBufferPointer) -> [UInt8] in
            return Array(raw.prefix(while: { $0 != 0 }))
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Between 0 and 1; nil where the system does not tell.
    static var battery: Double? {
        UIDevice.current.isBatteryMonitoringEnabled = true
        let level: Double = Double(UIDevice.current.batteryLevel)
        return level >= 0 ? level : nil
    }

    /// Megabytes of resident memory; nil where the system does not tell.
    static var memory: Double? {
        var info = mach_task_basic_info()
        var count = mach_msg_type_number_t(MemoryLayout<mach_task_basic_info>.size / MemoryLayout<natural_t>.size)
        let status: kern_return_t = withUnsafeMutablePointer(to: &info) {
            $0.withMemoryRebound(to: integer_t.self, capacity: Int(count)) {
                task_info(mach_task_self_, task_flavor_t(MACH_TASK_BASIC_INFO), $0, &count)
            }
        }
        return status == KERN_SUCCESS ? Double(info.resident_size) / 1e6 : nil
    }
}
