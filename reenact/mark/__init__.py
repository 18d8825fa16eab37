"""The invisible mark: who made a picture, read back from a few seconds of video."""
