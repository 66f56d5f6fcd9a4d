/** A scatter of up to a million points in WebGL2: colour and shape by value, the rest greyed while some are chosen. */
import { OTHER, PALETTE, SHAPES } from './colours.js';

const VERTEX = `#version 300 es
in vec2 place; in float code; in float chosen;
uniform vec2 middle; uniform vec2 scale; uniform float size; uniform bool dims;
flat out int look; flat out float faint;
void main() {
  gl_Position = vec4((place - middle) * scale, 0.0, 1.0);
  gl_PointSize = size;
  look = int(code);
  faint = dims && chosen < 0.5 ? 1.0 : 0.0;
}`;

const FRAGMENT = `#version 300 es
precision mediump float;
flat in int look; flat in float faint;
uniform vec3 palette[8]; uniform vec3 edge;
out vec4 colour;
bool within(vec2 p, int shape, float r) {
  if (shape == 0) return length(p) < r;
  if (shape == 1) return max(abs(p.x), abs(p.y)) < r * 0.85;
  if (shape == 2) return p.y < r * 0.8 && abs(p.x) * 1.7 < (p.y + r) * 0.95;
  if (shape == 3) return abs(p.x) + abs(p.y) < r * 1.1;
  return min(abs(p.x), abs(p.y)) < r * 0.38 && max(abs(p.x), abs(p.y)) < r;
}
void main() {
  vec2 p = gl_PointCoord * 2.0 - 1.0;
  bool isOther = look >= 65535;
  int shape = isOther ? 0 : look % 5;
  if (!within(p, shape, 0.95)) discard;
  vec3 inner = palette[isOther ? 7 : look % 7];
  vec3 seen = within(p, shape, 0.68) ? inner : mix(inner, edge, 0.55);
  colour = faint > 0.5 ? vec4(0.55, 0.55, 0.55, 0.25) : vec4(seen, 0.92);
}`;

const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255);

function compiled(gl) {
  const program = gl.createProgram();
  for (const [kind, text] of [
    [gl.VERTEX_SHADER, VERTEX],
    [gl.FRAGMENT_SHADER, FRAGMENT],
  ]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
  return program;
}

/** The smallest rectangle around all points, as middle and half sizes. */
function extentOf(points) {
  let [left, right, low, high] = [Infinity, -Infinity, Infinity, -Infinity];
  for (let at = 0; at < points.length; at += 2) {
    left = Math.min(left, points[at]);
    right = Math.max(right, points[at]);
    low = Math.min(low, points[at + 1]);
    high = Math.max(high, points[at + 1]);
  }
  return { x: (left + right) / 2, y: (low + high) / 2, half: Math.max(right - left, high - low, 1e-6) / 2 };
}

/** Points over a canvas. Throws an Error where the browser has no WebGL2. */
export class Scatter {
  constructor(canvas, points) {
    this.canvas = canvas;
    this.points = points;
    this.n = points.length / 2;
    this.gl = canvas.getContext('webgl2', {
      antialias: true,
      alpha: true,
      premultipliedAlpha: false,
      preserveDrawingBuffer: true,
    });
    if (!this.gl) throw new Error('This browser has no WebGL2, so the map is shown as a list.');
    this.program = compiled(this.gl);
    this.home = extentOf(points);
    this.view = { x: this.home.x, y: this.home.y, half: this.home.half * 1.06 };
    this.dims = false;
    this.buffer('place', points, 2);
    this.setCodes(new Uint16Array(this.n).fill(65535));
    this.setChosen(null);
  }

  buffer(name, values, parts) {
    const { gl, program } = this;
    this.buffers ??= {};
    this.buffers[name] ??= gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
    const at = gl.getAttribLocation(program, name);
    gl.enableVertexAttribArray(at);
    gl.vertexAttribPointer(at, parts, gl.FLOAT, false, 0, 0);
  }

  setCodes(codes) {
    this.buffer('code', Float32Array.from(codes), 1);
  }

  /** Rows that stand out; null for all. */
  setChosen(rows) {
    const chosen = new Float32Array(this.n);
    for (const row of rows ?? []) chosen[row] = 1;
    this.dims = rows !== null;
    this.buffer('chosen', chosen, 1);
  }

  /** Half of what is seen across and down, in the units of the points. */
  halves() {
    const { width, height } = this.canvas;
    const short = Math.min(width, height) || 1;
    return { x: (this.view.half * width) / short, y: (this.view.half * height) / short };
  }

  toScreen(x, y) {
    const half = this.halves();
    const box = this.canvas.getBoundingClientRect();
    return [((x - this.view.x) / half.x + 1) * 0.5 * box.width, (1 - (y - this.view.y) / half.y) * 0.5 * box.height];
  }

  toPoints(px, py) {
    const half = this.halves();
    const box = this.canvas.getBoundingClientRect();
    return [this.view.x + ((px / box.width) * 2 - 1) * half.x, this.view.y + (1 - (py / box.height) * 2) * half.y];
  }

  zoom(by, px, py) {
    const [x, y] = this.toPoints(px, py);
    const half = Math.min(Math.max(this.view.half / by, this.home.half / 400), this.home.half * 2);
    const share = half / this.view.half;
    this.view = { x: x + (this.view.x - x) * share, y: y + (this.view.y - y) * share, half };
    this.draw();
  }

  moveBy(px, py) {
    const from = this.toPoints(0, 0);
    const to = this.toPoints(px, py);
    this.view = { ...this.view, x: this.view.x - (to[0] - from[0]), y: this.view.y - (to[1] - from[1]) };
    this.draw();
  }

  goHome() {
    this.view = { x: this.home.x, y: this.home.y, half: this.home.half * 1.06 };
    this.draw();
  }

  pointSize() {
    const usual = this.n > 200000 ? 4 : this.n > 20000 ? 6 : this.n > 2000 ? 9 : 12;
    return usual * Math.min(2.5, (this.home.half / this.view.half) ** 0.3) * devicePixelRatio;
  }

  /** The row nearest to a place of the screen, within a few pixels; −1 for none. */
  nearest(px, py, withinPx = 12) {
    const [x, y] = this.toPoints(px, py);
    const limit = (withinPx / this.canvas.getBoundingClientRect().width) * 2 * this.halves().x;
    let best = limit * limit;
    let found = -1;
    for (let row = 0; row < this.n; row += 1) {
      const away = (this.points[2 * row] - x) ** 2 + (this.points[2 * row + 1] - y) ** 2;
      if (away < best) [best, found] = [away, row];
    }
    return found;
  }

  /** Rows inside an outline of screen places. */
  within(outline) {
    const corners = outline.map(([px, py]) => this.toPoints(px, py));
    const rows = [];
    for (let row = 0; row < this.n; row += 1) {
      if (isInside(this.points[2 * row], this.points[2 * row + 1], corners)) rows.push(row);
    }
    return rows;
  }

  draw(edge = [0, 0, 0]) {
    const { gl, program, canvas } = this;
    const box = canvas.getBoundingClientRect();
    canvas.width = Math.max(1, Math.round(box.width * devicePixelRatio));
    canvas.height = Math.max(1, Math.round(box.height * devicePixelRatio));
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.useProgram(program);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
    const half = this.halves();
    const uniform = (name) => gl.getUniformLocation(program, name);
    gl.uniform2f(uniform('middle'), this.view.x, this.view.y);
    gl.uniform2f(uniform('scale'), 1 / half.x, 1 / half.y);
    gl.uniform1f(uniform('size'), this.pointSize());
    gl.uniform1i(uniform('dims'), Number(this.dims));
    gl.uniform3fv(uniform('palette'), [...PALETTE, OTHER].flatMap(rgb));
    gl.uniform3fv(uniform('edge'), edge);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.drawArrays(gl.POINTS, 0, this.n);
    this.onDraw?.();
  }
}

/** Even-odd rule. */
function isInside(x, y, corners) {
  let inside = false;
  for (let at = 0, before = corners.length - 1; at < corners.length; before = at, at += 1) {
    const [ax, ay] = corners[at];
    const [bx, by] = corners[before];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
  }
  return inside;
}

if (SHAPES.length !== 5 || PALETTE.length !== 7) throw new Error('the shader draws five shapes in seven colours');
