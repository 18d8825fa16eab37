"""Pixels to `FaceParams`: landmarks, binding, fitting, calibration, smoothing."""
