// @ts-check

/**
 * @typedef {{key: string, label: string, color: string}} Series - `color` is the name of a CSS custom property
 * @typedef {{series: Series[], isStacked?: boolean, minTop: number, unit: string, rule?: number}} Look
 *   - `minTop`: the axis ends no lower; `rule`: a dashed line at this value
 */

/** Twice a second for a minute. */
const SAMPLES = 120;
const LINE_PX = 1.5;
/** Room for the figures of the axis. */
const LEFT_PX = 30;
const BOTTOM_PX = 14;

/** The last minute of a few series, as lines or stacked areas, on a canvas. Draws only when there is something new. */
export class Plot {
  #canvas;
  #look;
  /** @type {Record<string, number>[]} */
  #samples = [];

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {Look} look
   */
  constructor(canvas, look) {
    this.#canvas = canvas;
    this.#look = look;
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** @param {Record<string, number|null>} values - by key of series; what is missing counts as 0 */
  push(values) {
    const sample = Object.fromEntries(this.#look.series.map(({ key }) => [key, values[key] ?? 0]));
    this.#samples.push(sample);
    if (this.#samples.length > SAMPLES) this.#samples.shift();
    this.draw();
  }

  clear() {
    this.#samples = [];
    this.draw();
  }

  draw() {
    const { clientWidth, clientHeight } = this.#canvas;
    const context = this.#canvas.getContext("2d");
    if (!context || !clientWidth) return;
    const ratio = window.devicePixelRatio || 1;
    this.#canvas.width = Math.round(clientWidth * ratio);
    this.#canvas.height = Math.round(clientHeight * ratio);
    context.scale(ratio, ratio);
    const top = this.#top();
    const x = (/** @type {number} */ age) => clientWidth - (age * (clientWidth - LEFT_PX)) / (SAMPLES - 1);
    const y = (/** @type {number} */ value) => 5 + (1 - Math.min(value, top) / top) * (clientHeight - BOTTOM_PX - 5);
    const style = getComputedStyle(this.#canvas);
    this.#axes(context, top, y, style);
    context.beginPath();
    context.rect(LEFT_PX, 0, clientWidth - LEFT_PX, clientHeight);
    context.clip();
    this.#series(context, x, y, style);
  }

  /** A round number above everything shown. */
  #top() {
    const { series, isStacked, minTop } = this.#look;
    const totals = this.#samples.map((sample) => {
      const values = series.map(({ key }) => sample[key]);
      return isStacked ? values.reduce((sum, value) => sum + value, 0) : Math.max(...values);
    });
    const highest = Math.max(minTop, ...totals);
    const power = 10 ** Math.floor(Math.log10(highest));
    return (/** @type {number} */ ([1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((step) => step * power >= highest * 0.999))) * power;
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} top
   * @param {(value: number) => number} y
   * @param {CSSStyleDeclaration} style
   */
  #axes(context, top, y, style) {
    const { clientWidth, clientHeight } = this.#canvas;
    const { unit, rule } = this.#look;
    context.font = `10px ${style.fontFamily}`;
    context.fillStyle = style.getPropertyValue("--muted");
    context.strokeStyle = style.getPropertyValue("--line");
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const value of [0, top / 2, top]) {
      context.fillText(String(Number(value.toPrecision(2))), LEFT_PX - 6, y(value));
      line(context, LEFT_PX, clientWidth, Math.round(y(value)) + 0.5);
    }
    context.textBaseline = "bottom";
    context.fillText("now", clientWidth, clientHeight);
    context.textAlign = "left";
    context.fillText(`${unit}, last 60 s`, LEFT_PX, clientHeight);
    if (rule && rule < top) {
      context.setLineDash([3, 3]);
      context.strokeStyle = style.getPropertyValue("--muted");
      line(context, LEFT_PX, clientWidth, Math.round(y(rule)) + 0.5);
      context.setLineDash([]);
    }
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {(age: number) => number} x
   * @param {(value: number) => number} y
   * @param {CSSStyleDeclaration} style
   */
  #series(context, x, y, style) {
    const { series, isStacked } = this.#look;
    const last = this.#samples.length - 1;
    if (last < 1) return;
    const floor = this.#samples.map(() => 0);
    for (const { key, color } of series) {
      const ceiling = this.#samples.map((sample, index) => sample[key] + (isStacked ? floor[index] : 0));
      context.beginPath();
      ceiling.forEach((value, index) => context.lineTo(x(last - index), y(value)));
      if (isStacked) {
        for (let index = last; index >= 0; index--) context.lineTo(x(last - index), y(floor[index]));
        context.fillStyle = style.getPropertyValue(color);
        context.fill();
        ceiling.forEach((value, index) => (floor[index] = value));
      } else {
        context.lineWidth = LINE_PX;
        context.lineJoin = "round";
        context.strokeStyle = style.getPropertyValue(color);
        context.stroke();
      }
    }
  }
}

/** @param {CanvasRenderingContext2D} context @param {number} from @param {number} to @param {number} y */
function line(context, from, to, y) {
  context.beginPath();
  context.lineWidth = 1;
  context.moveTo(from, y);
  context.lineTo(to, y);
  context.stroke();
}
