package com.google.mlkit.vision.face;

public class Face { public FaceLandmark getLandmark(int landmarkType) { return null; } }
