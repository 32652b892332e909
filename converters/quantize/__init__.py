"""Quantization on the ONNX graph, as QuantizeLinear/DequantizeLinear pairs that every target reads."""
