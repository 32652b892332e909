"""Small networks that learn to answer as large ones do."""
