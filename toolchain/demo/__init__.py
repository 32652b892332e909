"""The live demo: window, files and the browser page."""
