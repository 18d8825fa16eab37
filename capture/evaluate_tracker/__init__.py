"""`reenact evaluate-tracker`: how fast and how exact both trackers are, and how good the face model's levels are."""
