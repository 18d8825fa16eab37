"""What is fixed or learned: parameters, camera, light, the face model and the networks.

Conventions, written once
-------------------------
Lengths are metres, angles radians, images `[H, W, 3]` uint8 RGB (sRGB), unless a name or docstring says otherwise.

**Axes.** The head frame and the camera (view) frame share one set of axes: `x` to the right of the image, which is
the actor's own left; `y` up; `z` out of the face, towards the viewer. Right-handed (as OpenGL). A head with zero
rotation looks straight into the camera.

**Pose.** `p_view = R @ p_head + translation`. The camera stands at the origin and looks along `-z`, so a visible head
has `translation[2] < 0`. `rotation = (yaw, pitch, roll)` in radians and `R = Ry(yaw) @ Rx(-pitch) @ Rz(-roll)`:
yaw > 0 turns to the actor's own left (image right), pitch > 0 looks up, roll > 0 tilts to the actor's own left.

**Gaze.** `(yaw, pitch)` of each eyeball in the head frame with the same signs; first the actor's left eye.

**Pixels.** `u = cx + f * x / -z`, `v = cy - f * y / -z`. Pixel `(row i, column j)` covers `[j, j+1) x [i, i+1)`; its
centre is `(j + 0.5, i + 0.5)`.

**Colour.** Albedo and shading live in linear light; `illumination` multiplies; images are sRGB-encoded afterwards.
"""
