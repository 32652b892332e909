package org.tensorflow.lite.gpu;

public class CompatibilityList implements java.io.Closeable {
    public boolean isDelegateSupportedOnThisDevice() { return false; }
    public void close() { }
}
