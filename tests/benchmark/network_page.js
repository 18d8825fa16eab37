// The page of the network benchmark: a numbered, textured picture goes out by the page's own session, what comes back is read frame by frame.
import { Session } from "/web/session.js";

const [WIDTH, HEIGHT, BITS, BAND] = [640, 480, 16, 1 / 8];
const paper = document.createElement("canvas");
[paper.width, paper.height] = [WIDTH, HEIGHT];
const pen = paper.getContext("2d");
const noise = document.createElement("canvas");
[noise.width, noise.height] = [1024, 360];
{
  const grain = noise.getContext("2d");
  const data = grain.createImageData(1024, 360);
  let seed = 1;
  for (let i = 0; i < data.data.length; i += 4) {
    seed = (seed * 1103515245 + 12345) & 0x7fffffff;
    const value = 128 + ((seed >> 16) & 63) - 32;
    data.data.set([value, value, value, 255], i);
  }
  grain.putImageData(data, 0, 0);
}
// The lower part: the left half grows brighter with the number and starts anew, the right half darker. It tells a picture of another number by its brightness.
const shade = (number) => 60 + (number * 7) % 128;

function draw(number) {
  for (let bit = 0; bit < BITS; bit++) {
    pen.fillStyle = number >> bit & 1 ? "#fff" : "#000";
    pen.fillRect(bit * WIDTH / BITS, 0, WIDTH / BITS, HEIGHT * BAND);
  }
  pen.drawImage(noise, number * 5 % 384, 0, WIDTH, 360, 0, HEIGHT * BAND, WIDTH, HEIGHT);
  const value = shade(number);
  pen.fillStyle = `rgb(${value} ${value} ${value} / 0.8)`;
  pen.fillRect(0, HEIGHT * BAND, WIDTH / 2, HEIGHT);
  pen.fillStyle = `rgb(${255 - value} ${255 - value} ${255 - value} / 0.8)`;
  pen.fillRect(WIDTH / 2, HEIGHT * BAND, WIDTH / 2, HEIGHT);
}

const SIDE = 64;
const eye = new OffscreenCanvas(SIDE, SIDE).getContext("2d", { willReadFrequently: true });
function read(video) {
  eye.drawImage(video, 0, 0, SIDE, SIDE);
  const { data } = eye.getImageData(0, 0, SIDE, SIDE);
  const at = (x, y) => data[4 * (y * SIDE + x) + 1];
  let number = 0;
  for (let bit = 0; bit < BITS; bit++) if (at(bit * 4 + 1, 3) + at(bit * 4 + 2, 3) > 255) number |= 1 << bit;
  // The worst 8 x 8 block against what its half should be.
  const value = shade(number);
  let worst = 0;
  for (let top = 16; top < SIDE; top += 8) for (let left = 0; left < SIDE; left += 8) {
    let sum = 0;
    for (let y = top; y < top + 8; y++) for (let x = left; x < left + 8; x++) sum += at(x, y);
    const wanted = 0.8 * (left < SIDE / 2 ? value : 255 - value) + 0.2 * 128;
    worst = Math.max(worst, Math.abs(sum / 64 - wanted));
  }
  return { number, error: worst };
}

const sentMs = new Map();
const shown = [];
let isOn = true;
const stream = paper.captureStream(0);
const [track] = stream.getVideoTracks();
let number = 1;
let nextMs = performance.now();
function tick() {
  if (!isOn) return;
  const nowMs = performance.now();
  if (nowMs >= nextMs) {
    nextMs = Math.max(nextMs + 1000 / 30, nowMs - 100);
    draw(number);
    sentMs.set(number, performance.now());
    track.requestFrame();
    number = number % 65000 + 1;
  }
  setTimeout(tick, Math.max(1, nextMs - performance.now()));
}
tick();

const video = document.getElementById("output");
const session = new Session([]);
session.addEventListener("stream", (event) => {
  if (video.srcObject !== event.detail) video.srcObject = event.detail;
  video.play().catch(() => undefined);
});
const step = (now) => {
  if (!isOn) return;
  const seen = read(video);
  shown.push({ at: now, delay: sentMs.has(seen.number) ? now - sentMs.get(seen.number) : null, ...seen });
  video.requestVideoFrameCallback(step);
};
video.requestVideoFrameCallback(step);
window.network = {
  now: () => performance.now(),
  shown: () => shown,
  stop: () => { isOn = false; session.close(); },
  stats: async () => [...(await session.peer.getStats()).values()].filter(({ type, kind }) => kind === "video" && /bound-rtp$/.test(type)),
};
await session.connect(track, { actor: "", client: "network", codec: "auto" }, new AbortController().signal);
document.body.dataset.state = "connected";
