"""The secrets of a site: generated there, kept in one encrypted file, and never part of a bundle."""
