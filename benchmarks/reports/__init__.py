"""What people and other programs read of a results file: Markdown, one HTML file, Chrome traces."""
