package android.content;

public abstract class Context {
    public static final String POWER_SERVICE = "power";
    public static final String BATTERY_SERVICE = "batterymanager";
    public final int getColor(int id) { return 0; }
    public final String getString(int resId) { return null; }
    public final String getString(int resId, Object... formatArgs) { return null; }
    public android.content.res.Resources getResources() { return null; }
    public android.content.res.AssetManager getAssets() { return null; }
    public Object getSystemService(String name) { return null; }
    public java.io.File getExternalFilesDir(String type) { return null; }
}
