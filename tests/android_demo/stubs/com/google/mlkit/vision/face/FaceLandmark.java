package com.google.mlkit.vision.face;

public class FaceLandmark {
    public static final int LEFT_EYE = 4;
    public static final int MOUTH_LEFT = 5;
    public static final int RIGHT_EYE = 10;
    public static final int MOUTH_RIGHT = 11;
    public android.graphics.PointF getPosition() { return null; }
}
