"""What a build states about its images: provenance and SBOMs, on request."""
