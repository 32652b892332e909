"""Core ML: .mlpackage and .mlmodel through coremltools' MIL builder, without its PyTorch front end."""
