package com.google.mlkit.vision.face;

public class FaceDetectorOptions {
    public static final int PERFORMANCE_MODE_FAST = 1;
    public static final int LANDMARK_MODE_ALL = 2;
    public static class Builder {
        public Builder setPerformanceMode(int performanceMode) { return this; }
        public Builder setLandmarkMode(int landmarkMode) { return this; }
        public FaceDetectorOptions build() { return null; }
    }
}
