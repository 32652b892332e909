package org.tensorflow.lite;

public interface Delegate extends java.io.Closeable { default void close() { } }
