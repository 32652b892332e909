package com.google.mlkit.vision.common;

public class InputImage {
    public static InputImage fromBitmap(android.graphics.Bitmap bitmap, int rotationDegrees) { return null; }
}
