package toolchain.demo

import android.content.Context
import android.os.BatteryManager
import android.os.Build
import android.os.PowerManager
import java.io.File
import java.io.IOException

/** What of a device explains its times. */
class DeviceState(private val context: Context) {
    private val power = context.getSystemService(Context.POWER_SERVICE) as PowerManager
    private val batteries = context.getSystemService(Context.BATTERY_SERVICE) as BatteryManager

    /** How the device is called in reports. */
    val name: String get() = "${Build.MANUFACTURER} ${Build.MODEL}, $system"

    val system: String get() = "Android ${Build.VERSION.RELEASE}"

    val cores: Int get() = Runtime.getRuntime().availableProcessors()

    /** Share (0-1) of the battery's charge. */
    fun battery(): Double = batteries.getIntProperty(BatteryManager.BATTERY_PROPERTY_CAPACITY) / 100.0

    /** How far the system slows down because of heat, by the names of PowerManager; "unknown" before Android 10. */
    fun thermal(): String {
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.Q) return UNKNOWN
        return when (power.currentThermalStatus) {
            PowerManager.THERMAL_STATUS_NONE -> "none"
            PowerManager.THERMAL_STATUS_LIGHT -> "light"
            PowerManager.THERMAL_STATUS_MODERATE -> "moderate"
            PowerManager.THERMAL_STATUS_SEVERE -> "severe"
            PowerManager.THERMAL_STATUS_CRITICAL -> "critical"
            PowerManager.THERMAL_STATUS_EMERGENCY -> "emergency"
            PowerManager.THERMAL_STATUS_SHUTDOWN -> "shutdown"
            else -> UNKNOWN
        }
    }

    /** Resident memory of this app now, in megabytes; null where the system does not tell. */
    fun residentMb(): Double? = memory(R.string.memory_resident)

    /** The most that it ever was. */
    fun peakMb(): Double? = memory(R.string.memory_peak)

    private fun memory(field: Int): Double? = try {
        val name = context.getString(field)
        File(context.getString(R.string.memory_status)).readLines().firstOrNull { it.startsWith(name) }
            ?.filter { it.isDigit() }?.toDoubleOrNull()?.let { it / KILOBYTES }
    } catch (error: IOException) {
        null
    }

    private companion object {
        const val UNKNOWN = "unknown"
        const val KILOBYTES = 1024
    }
}
