package android.graphics;

public class Matrix {
    public void setScale(float sx, float sy) { }
    public boolean postTranslate(float dx, float dy) { return true; }
}
