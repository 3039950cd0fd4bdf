/* The grid of schemas: a cell each on one canvas, coloured by state. Only cells that change are painted again.

   It is loaded where the canvas is, which has its height before what follows is painted: nothing moves afterwards. */
(() => {
  "use strict";
  const canvas = document.querySelector("canvas.grid");
  if (!canvas) return;
  const form = document.querySelector("[data-filter=cells]");
  const EVERY_MS = 1000;
  const EVERY_IDLE_MS = 10000;
  let cells = null;
  let outdated = false;
  let layout = null;
  let colours = {};
  let canaries = new Set();
  let matches = () => true;

  function shape(count) {
    const width = canvas.clientWidth;
    const size = count > 4000 ? 9 : count > 800 ? 12 : 18;
    const columns = Math.max(1, Math.floor(width / size));
    return { size, columns, width, height: Math.ceil(count / columns) * size };
  }
  function measure() {
    const styles = getComputedStyle(document.documentElement);
    for (const tone of ["ok", "run", "wait", "bad", "pend", "text"]) colours[tone] = styles.getPropertyValue(`--${tone}`);
    const { size, columns, width, height } = shape(cells.names.length);
    const scale = devicePixelRatio || 1;
    canvas.width = width * scale;
    canvas.height = height * scale;
    canvas.style.height = `${height}px`;
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    layout = { size, columns, context };
  }
  function paint(index) {
    const { size, columns, context } = layout;
    const tone = cells.tones[cells.state[index]];
    const x = (index % columns) * size;
    const y = Math.floor(index / columns) * size;
    context.clearRect(x, y, size, size);
    context.fillStyle = colours[tone];
    // Schemas that are up to date, or do not match the filter, are drawn in a pale color.
    context.globalAlpha = matches(index) ? (tone === "ok" ? 0.45 : 1) : 0.08;
    if (tone === "ok") context.fillRect(x + 1, y + 1, size - 2, size - 2);
    else if (tone === "bad") cross(context, x + 1, y + 1, size - 2);
    else if (tone === "pend") ring(context, x + size / 2, y + size / 2, size / 2 - 1.5);
    else if (tone === "run") triangle(context, x + 1, y + 1, size - 2);
    else context.fillRect(x + 1, y + size / 3, size - 2, size / 3);
    if (canaries.has(index)) {
      context.globalAlpha = 1;
      context.strokeStyle = colours.text;
      context.lineWidth = 1;
      context.strokeRect(x + 0.5, y + 0.5, size - 1, size - 1);
    }
    context.globalAlpha = 1;
  }
  function cross(context, x, y, size) {
    context.strokeStyle = context.fillStyle;
    context.lineWidth = 2;
    context.beginPath();
    context.moveTo(x, y); context.lineTo(x + size, y + size);
    context.moveTo(x + size, y); context.lineTo(x, y + size);
    context.stroke();
  }
  function ring(context, x, y, radius) {
    context.strokeStyle = context.fillStyle;
    context.lineWidth = 2;
    context.beginPath();
    context.arc(x, y, radius, 0, 7);
    context.stroke();
  }
  function triangle(context, x, y, size) {
    context.beginPath();
    context.moveTo(x, y); context.lineTo(x + size, y + size / 2); context.lineTo(x, y + size);
    context.fill();
  }
  function paintAll() {
    if (!cells) return;
    measure();
    for (let index = 0; index < cells.names.length; index += 1) paint(index);
    canvas.dataset.painted = cells.names.length;
  }
  function take(fresh) {
    const old = cells;
    const were = canaries;
    cells = fresh;
    canaries = new Set(fresh.canaries);
    // The numbers and the list beside the grid are from before the run.
    if (form && old?.active && !fresh.active) outdated = true;
    if (outdated && !form.contains(document.activeElement)) { location.reload(); return; }
    const same = old && old.names.length === fresh.names.length && old.names.every((name, index) => name === fresh.names[index]);
    if (!same) { requestAnimationFrame(paintAll); return; }
    const changed = [];
    for (let index = 0; index < fresh.names.length; index += 1) {
      const isSame = old.states[old.state[index]] === fresh.states[fresh.state[index]] &&
        old.versions[old.version[index]] === fresh.versions[fresh.version[index]];
      if (!isSame || were.has(index) !== canaries.has(index)) changed.push(index);
    }
    if (changed.length) requestAnimationFrame(() => { for (const index of changed) paint(index); });
  }
  function cellAt(event) {
    if (!layout) return -1;
    const box = canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left) / layout.size);
    const index = Math.floor((event.clientY - box.top) / layout.size) * layout.columns + column;
    return column >= 0 && column < layout.columns && index >= 0 && index < cells.names.length ? index : -1;
  }
  function describe(index) {
    const name = cells.names[index];
    const version = cells.versions[cells.version[index]];
    const parts = [`${name}: ${cells.states[cells.state[index]].replaceAll("_", " ")}`];
    if (version) parts.push(`version ${version}`);
    if (canaries.has(index)) parts.push("canary");
    if (cells.why[name]) parts.push(cells.why[name]);
    return parts.join(", ");
  }
  async function read() {
    let wait = EVERY_IDLE_MS;
    try {
      const begin = performance.now();
      if (!document.hidden && !(cells && window.pgdbm.isPaused())) {
        const answer = await fetch(canvas.dataset.cells);
        // The session ended: reloading leads to the sign-in page, and back here.
        if (answer.status === 401) location.reload();
        if (answer.ok) take(await answer.json());
      }
      // A slow service is polled less often.
      if (cells?.active) wait = Math.max(EVERY_MS, 4 * (performance.now() - begin));
    } catch {
      // The service is not answering: the cells stay, and the top of the page says so.
    } finally {
      setTimeout(read, wait);
    }
  }
  function filter() {
    const query = form.q.value.trim();
    const version = form.version.value.trim();
    const state = form.state.value;
    matches = (index) => cells.names[index].includes(query) &&
      (!state || cells.states[cells.state[index]] === state) &&
      (!version || (cells.versions[cells.version[index]] || "none") === version);
    window.pgdbm.keep({ q: query, state, version, next: "" });
    requestAnimationFrame(paintAll);
  }
  if (form) form.addEventListener("input", () => { if (cells) filter(); });
  addEventListener("resize", () => requestAnimationFrame(paintAll));
  document.addEventListener("theme", () => requestAnimationFrame(paintAll));
  canvas.addEventListener("mousemove", (event) => {
    const index = cells ? cellAt(event) : -1;
    if (index >= 0) document.querySelector(".tip").textContent = describe(index);
  });
  canvas.addEventListener("click", (event) => {
    const index = cells ? cellAt(event) : -1;
    if (index >= 0) location.href = canvas.dataset.open + encodeURIComponent(cells.names[index]);
  });
  canvas.style.height = `${shape(Number(canvas.dataset.count)).height}px`;
  addEventListener("DOMContentLoaded", () => {
    const values = form && new FormData(form);
    if (values && (values.get("q") || values.get("state") || values.get("version"))) filter();
    read();
  });
  canvas.pgdbm = { take, cells: () => cells };
})();
