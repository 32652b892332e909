"""Networks with fewer filters, fewer classes and fewer bytes."""
