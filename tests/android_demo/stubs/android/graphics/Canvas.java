package android.graphics;

public class Canvas { public void drawBitmap(Bitmap bitmap, Matrix matrix, Paint paint) { } }
