"""From a photograph to coloured parts of a face: each stage is a plain function on arrays."""
