"""Synthetic faces: randomised renders of the face model, with everything that is known of them."""

from capture.synthetic.config import SyntheticConfig
from capture.synthetic.faces import SyntheticFace, SyntheticFaces
from capture.synthetic.stream import collate, stream

__all__ = ["SyntheticConfig", "SyntheticFace", "SyntheticFaces", "collate", "stream"]
