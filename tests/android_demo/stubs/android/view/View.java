package android.view;

public class View {
    public interface OnClickListener { void onClick(View v); }
    public View(android.content.Context context, android.util.AttributeSet attrs) { }
    public final int getWidth() { return 0; }
    public final int getHeight() { return 0; }
    public void postInvalidate() { }
    public void setOnClickListener(OnClickListener l) { }
    protected void onDraw(android.graphics.Canvas canvas) { }
}
