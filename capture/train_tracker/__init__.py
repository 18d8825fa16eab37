"""Training of the regressor together with the face model's learned levels: `reenact train-tracker`."""
