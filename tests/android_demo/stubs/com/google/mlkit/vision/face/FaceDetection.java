package com.google.mlkit.vision.face;

public class FaceDetection { public static FaceDetector getClient(FaceDetectorOptions options) { return null; } }
