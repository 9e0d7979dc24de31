// A live plot of a few series over time, on a canvas.

/** Seconds that a plot can show; it begins with fewer. */
const WINDOWS = [30, 60, 120];
export const WINDOW = WINDOWS.at(-1);

const LEFT = 58;
const BOTTOM = 22;
const TOP = 8;

/** The smallest of 1, 2, 4, 8 × 10ⁿ times `unit` that is at least `value`: its quarters are round, too. */
function nice(value, unit) {
  const power = unit * 10 ** Math.floor(Math.log10(Math.max(value / unit, 1e-9)));
  return [1, 2, 4, 8, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

/** A scale from 0 to a round number. */
function linear(most, { floor, unit = () => 1 }) {
  const top = Math.max(floor, nice(Math.max(most, floor), unit(most)));
  return { part: (value) => value / top, lines: [0, 1, 2, 3, 4].map((n) => (top * n) / 4) };
}

/** A scale of powers of ten, for what spans several. */
function logarithmic(most, { floor, bottom }) {
  const powers = Math.max(1, Math.ceil(Math.log10(Math.max(most, floor) / bottom) - 1e-9));
  return {
    part: (value) => Math.max(0, Math.log10(value / bottom) / powers),
    lines: Array.from({ length: powers + 1 }, (_, n) => bottom * 10 ** n),
  };
}

export class Plot {
  /**
   * `colours`: an element per series whose text colour is the series'. `grid`, `axis`: the same for lines and texts.
   * `format(value)` writes a value, `ago(seconds)` a time; `tip(sample, x)` shows the words of a sample. `scale` says how
   * high the plot is: at least `floor`; with `bottom`, in powers of ten from there; with `unit(value)`, round in units.
   */
  constructor(canvas, { colours, grid, axis, format, scale, tip, ago }) {
    Object.assign(this, { canvas, colours, grid, axis, format, scale, tip, ago });
    this.samples = [];
    this.pointer = null;
    new ResizeObserver(() => this.draw()).observe(canvas);
    canvas.addEventListener('pointermove', ({ offsetX }) => {
      this.pointer = offsetX;
      this.draw();
    });
    canvas.addEventListener('pointerleave', () => {
      this.pointer = null;
      this.draw();
    });
  }

  /** Samples are `{ at: seconds, values: [number or null, …] }`, the oldest first; shared, not copied. */
  show(samples) {
    this.samples = samples;
    this.draw();
  }

  draw() {
    const { canvas, samples } = this;
    const { clientWidth: width, clientHeight: height } = canvas;
    if (width === 0) return;
    const pixels = window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * pixels) || canvas.height !== Math.round(height * pixels)) {
      canvas.width = Math.round(width * pixels);
      canvas.height = Math.round(height * pixels);
    }
    const pen = canvas.getContext('2d');
    pen.setTransform(pixels, 0, 0, pixels, 0, 0);
    pen.clearRect(0, 0, width, height);

    const end = samples.at(-1)?.at ?? 0;
    const span = WINDOWS.find((seconds) => seconds >= end - (samples[0]?.at ?? end)) ?? WINDOW;
    const inWindow = samples.filter(({ at }) => at >= end - span);
    const most = Math.max(0, ...inWindow.flatMap(({ values }) => values.filter((value) => value !== null)));
    const scale = this.scale.bottom ? logarithmic(most, this.scale) : linear(most, this.scale);
    const x = (at) => width - 6 - ((end - at) / span) * (width - 6 - LEFT);
    const y = (value) => height - BOTTOM - scale.part(value) * (height - BOTTOM - TOP);

    this.drawGrid(pen, width, height, scale.lines, y, span);
    this.colours.forEach((element, series) => this.drawSeries(pen, inWindow, series, element, x, y));
    this.drawPointer(pen, inWindow, x, y, height);
  }

  drawGrid(pen, width, height, lines, y, span) {
    const axis = getComputedStyle(this.axis).color;
    pen.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    pen.lineWidth = 1;
    for (const value of lines) {
      const at = Math.round(y(value)) + 0.5;
      pen.strokeStyle = getComputedStyle(this.grid).color;
      pen.beginPath();
      pen.moveTo(LEFT, at);
      pen.lineTo(width - 6, at);
      pen.stroke();
      pen.fillStyle = axis;
      pen.textAlign = 'right';
      pen.textBaseline = 'middle';
      pen.fillText(this.format(value), LEFT - 7, at);
    }
    pen.textBaseline = 'alphabetic';
    for (const ago of [0, span / 2, span]) {
      pen.textAlign = ago === 0 ? 'right' : ago === span ? 'left' : 'center';
      pen.fillText(this.ago(ago), width - 6 - (ago / span) * (width - 6 - LEFT), height - 5);
    }
  }

  drawSeries(pen, samples, series, element, x, y) {
    const colour = getComputedStyle(element).color;
    const floor = pen.canvas.clientHeight - BOTTOM;
    const runs = [];
    let run = [];
    for (const { at, values } of samples) {
      const value = values[series];
      if (value === null || value === undefined) {
        if (run.length) runs.push(run);
        run = [];
      } else {
        run.push([x(at), y(value)]);
      }
    }
    if (run.length) runs.push(run);
    pen.strokeStyle = colour;
    pen.fillStyle = colour;
    pen.lineWidth = 1.8;
    pen.lineJoin = 'round';
    for (const points of runs) {
      if (points.length === 1) {
        pen.beginPath();
        pen.arc(...points[0], 2, 0, 2 * Math.PI);
        pen.fill();
        continue;
      }
      pen.beginPath();
      for (const point of points) pen.lineTo(...point);
      pen.stroke();
      pen.lineTo(points.at(-1)[0], floor);
      pen.lineTo(points[0][0], floor);
      pen.globalAlpha = 0.09;
      pen.fill();
      pen.globalAlpha = 1;
    }
  }

  drawPointer(pen, samples, x, y, height) {
    if (this.pointer === null || samples.length === 0) return this.tip(null);
    const nearest = samples.reduce((best, sample) =>
      Math.abs(x(sample.at) - this.pointer) < Math.abs(x(best.at) - this.pointer) ? sample : best);
    const at = Math.round(x(nearest.at)) + 0.5;
    pen.strokeStyle = getComputedStyle(this.axis).color;
    pen.globalAlpha = 0.6;
    pen.beginPath();
    pen.moveTo(at, TOP);
    pen.lineTo(at, height - BOTTOM);
    pen.stroke();
    pen.globalAlpha = 1;
    nearest.values.forEach((value, series) => {
      if (value === null) return;
      pen.fillStyle = getComputedStyle(this.colours[series]).color;
      pen.beginPath();
      pen.arc(at, y(value), 3.2, 0, 2 * Math.PI);
      pen.fill();
    });
    this.tip(nearest, at);
  }
}
