"""A reference interpreter of Core ML neural networks (.mlmodel), computed by torch on any computer.

weights.py  decodes stored weights: float32, float16, linearly quantized, look-up tables
kernels.py  which function computes which layer type
layers/     the layers, one short function each, named as in NeuralNetwork.proto
features.py what enters a network and what leaves it: pictures, arrays, labels
execute.py  runs a network
measure.py  counts layers and weights
"""

from toolchain.runtimes.neuralnetwork.execute import NeuralNetwork

__all__ = ["NeuralNetwork"]
