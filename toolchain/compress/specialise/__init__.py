"""Networks for some of their classes, thinner if wanted."""
