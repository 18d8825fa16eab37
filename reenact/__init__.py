"""`FaceParams` to pixels: transfer, conditioning, window, generation; actors, training and offline rendering."""
