"""`FaceParams` to pixels: transfer, conditioning, window, generation; actor packages, training and offline rendering."""
