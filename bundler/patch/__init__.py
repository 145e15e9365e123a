"""Patches inside blobs: what of a blob travels when another one, much like it, is there already."""
