"""What the demo apps are given: a network with its sidecar, and a clip for their benchmark."""
