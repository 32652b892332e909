package com.google.mlkit.vision.face;

public interface FaceDetector extends java.io.Closeable {
    com.google.android.gms.tasks.Task<java.util.List<Face>> process(com.google.mlkit.vision.common.InputImage image);
    void close();
}
