package androidx.camera.view;

public final class PreviewView extends android.view.ViewGroup {
    public PreviewView(android.content.Context context, android.util.AttributeSet attrs) { super(context, attrs); }
    public androidx.camera.core.Preview.SurfaceProvider getSurfaceProvider() { return null; }
}
