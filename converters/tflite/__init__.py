"""TFLite: a cleaned ONNX graph becomes a flatbuffer, without TensorFlow."""

from toolchain.converters.tflite.convert import TFLiteModel, convert

__all__ = ["TFLiteModel", "convert"]
