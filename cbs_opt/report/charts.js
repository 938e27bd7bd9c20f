// Charts from the data of the page, drawn as SVG at the width there is. Names reach the page as text nodes only.
(() => {
  const source = document.getElementById("chart-data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const NS = "http://www.w3.org/2000/svg", FONT = 12, DASHES = ["", "6 3", "2 3", "8 3 2 3"];
  const state = {asked: 0, hidden: new Set()};
  const colour = m => data.colours[m % data.colours.length];
  const dash = m => DASHES[Math.floor(m / data.colours.length) % DASHES.length];

  function html(parent, tag, className, text) {
    const node = parent.appendChild(document.createElement(tag));
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }
  function svg(parent, tag, attributes, text) {
    const node = parent.appendChild(document.createElementNS(NS, tag));
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    return node;
  }
  const cut = (text, most) => text.length <= most ? text : most < 4 ? text.slice(0, most) : text.slice(0, most - 1) + "…";
  // Methods that begin alike are told apart by their ends.
  function cutInside(text, most) {
    const end = Math.floor((most - 1) / 2);
    return text.length <= most || end < 1 ? cut(text, most) : text.slice(0, most - 1 - end) + "…" + text.slice(-end);
  }
  // What all layers end with, as .weight, tells none of them apart.
  function withoutEnding(names) {
    const dot = names[0].lastIndexOf("."), ending = dot > 0 ? names[0].slice(dot) : "";
    const shared = names.length > 1 && ending && names.every(name => name.length > ending.length && name.endsWith(ending));
    return shared ? names.map(name => name.slice(0, -ending.length)) : names;
  }

  // ------------------------------------------------------------ numbers
  const digits = v => v >= 100 ? v.toFixed(0) : v >= 10 ? v.toFixed(1) : v.toPrecision(3);
  const trim = text => text.includes(".") && !text.includes("e") ? text.replace(/\.?0+$/, "") : text;
  function percent(v) {
    if (v === 0) return "0 %";
    const p = 100 * v;
    return (p >= 100 ? p.toFixed(0) : p >= 1e-3 ? trim(p.toPrecision(3)) : p.toExponential(0).replace("e-", "e−")) + " %";
  }
  function seconds(v) {
    if (v < 1e-3) return trim((1e6 * v).toPrecision(3)) + " µs";
    if (v < 1) return trim((1e3 * v).toPrecision(3)) + " ms";
    if (v < 120) return trim(v.toPrecision(3)) + " s";
    if (v < 7200) return trim((v / 60).toPrecision(3)) + " min";
    return trim((v / 3600).toPrecision(3)) + " h";
  }
  const FORMAT = {percent, seconds, factor: v => (v < 1e4 ? trim(digits(v)) : v.toExponential(0)) + "×"};

  // ------------------------------------------------------------ axes: each maps values to [0, 1]
  function shareAxis() {
    return {at: v => v, back: t => t, ticks: [0, 0.25, 0.5, 0.75, 1]};
  }
  function logAxis(values) {
    let low = Math.min(...values), high = Math.max(...values);
    if (!(high > low)) { low /= 1.5; high *= 1.5; }
    const a = Math.log10(low), b = Math.log10(high), span = b - a;
    const steps = span > 2.5 ? [1] : span > 0.8 ? [1, 2, 5] : [1, 1.2, 1.5, 2, 3, 5, 7];
    let ticks = [];
    for (let e = Math.floor(a); e <= Math.ceil(b); e++) for (const s of steps) ticks.push(s * 10 ** e);
    ticks = ticks.filter(t => t >= low * 0.999 && t <= high * 1.001);
    return {at: v => v > 0 ? Math.max(0, (Math.log10(v) - a) / span) : 0, back: t => 10 ** (a + t * span), ticks};
  }
  // Zero has a place of its own below the smallest decade; everything up to the floor counts as zero.
  function zeroAxis(values, floor) {
    const positive = values.filter(v => v > floor);
    const a = Math.floor(Math.log10(Math.min(...positive, 1e-2))), high = Math.max(...positive, 2 * 10 ** a);
    const b = Math.log10(high * 1.15), strip = 0.09, ticks = [0];
    for (let e = a; e <= b; e++) for (const s of b - a > 2 ? [1] : [1, 2, 5]) ticks.push(s * 10 ** e);
    const place = v => strip + (1 - strip) * (Math.log10(v) - a) / (b - a);
    return {at: v => v <= floor ? 0 : Math.max(place(v), strip / 2),
            ticks: ticks.filter(t => t <= high * 1.15),
            back: t => t < strip / 2 ? 0 : 10 ** (a + Math.max(0, t - strip) / (1 - strip) * (b - a))};
  }
  const known = list => list.filter(v => v !== null && v !== undefined);
  function axisOf(spec, values) {
    if (spec.scale === "share") return shareAxis();
    if (spec.scale === "zero") return zeroAxis(values, spec.floor);
    const positive = values.filter(v => v > 0);
    return logAxis(positive.length ? positive : [1, 10]);
  }
  function thinned(ticks, room, size) {
    const every = Math.max(1, Math.ceil(ticks.length * size / Math.max(room, 1)));
    return ticks.filter((_, i) => i % every === 0);
  }

  // ------------------------------------------------------------ the frame of a chart
  function frame(view, chart, xTicks, yTicks) {
    const width = Math.max(260, view.plot.clientWidth), height = Math.min(380, Math.max(250, width * 0.55));
    const box = {left: 68, right: width - 14, top: 10, bottom: height - 44, width, height};
    view.plot.replaceChildren();
    const root = svg(view.plot, "svg", {viewBox: `0 0 ${width} ${height}`, width, height, role: "img",
                                         "aria-label": `${chart.title}. ${chart.caption}`});
    const X = t => box.left + t * (box.right - box.left), Y = t => box.bottom - t * (box.bottom - box.top);
    for (const tick of thinned(yTicks, box.bottom - box.top, 22)) {
      svg(root, "line", {class: "grid", x1: box.left, x2: box.right, y1: Y(tick.at), y2: Y(tick.at)});
      svg(root, "text", {class: "tick", x: box.left - 7, y: Y(tick.at) + 4, "text-anchor": "end"}, tick.text);
    }
    for (const tick of thinned(xTicks, box.right - box.left, 58)) {
      svg(root, "line", {class: "grid", x1: X(tick.at), x2: X(tick.at), y1: box.top, y2: box.bottom});
      svg(root, "text", {class: "tick", x: X(tick.at), y: box.bottom + 17, "text-anchor": "middle"}, tick.text);
    }
    svg(root, "line", {class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom});
    svg(root, "text", {class: "label", x: (box.left + box.right) / 2, y: height - 6, "text-anchor": "middle"}, chart.x.label);
    const middle = (box.top + box.bottom) / 2;
    svg(root, "text", {class: "label", x: 11, y: middle, "text-anchor": "middle", transform: `rotate(-90 11 ${middle})`}, chart.y.label);
    return {root, X, Y, box};
  }
  const labelled = (axis, format) => axis.ticks.map(v => ({at: axis.at(v), text: format(v)}));

  function listen(view, root, find) {
    const move = event => {
      const area = root.getBoundingClientRect();
      const lines = find(event.clientX - area.left, event.clientY - area.top);
      if (!lines) return leave();
      tip.replaceChildren();
      for (const line of lines) {
        const row = html(tip, "div", line.head ? "head" : "");
        if (line.m !== undefined) html(row, "i").style.background = colour(line.m);
        html(row, "span", "", line.text);
        if (line.value !== undefined) html(row, "b", "", line.value);
      }
      tip.hidden = false;
      const x = event.clientX + 14, y = event.clientY + 14;
      tip.style.left = `${Math.max(4, Math.min(x, document.documentElement.clientWidth - tip.offsetWidth - 4))}px`;
      tip.style.top = `${y + tip.offsetHeight > innerHeight ? Math.max(4, event.clientY - tip.offsetHeight - 14) : y}px`;
    };
    const leave = () => { tip.hidden = true; find(NaN, NaN); };
    root.addEventListener("pointermove", move);
    root.addEventListener("pointerdown", move);
    root.addEventListener("pointerleave", leave);
  }

  // ------------------------------------------------------------ lines: steps, curves and end points
  function lines(view, chart, panel) {
    const series = panel.series.filter(s => !state.hidden.has(s.m));
    const xs = series.flatMap(s => known([...s.x, ...(s.spread || [])]));
    const ys = series.flatMap(s => known([...s.y, ...(s.hi || [])]));
    const xAxis = axisOf(chart.x, xs), yAxis = axisOf(chart.y, ys);
    const xFormat = FORMAT[chart.x.unit], yFormat = FORMAT[chart.y.unit];
    const {root, X, Y, box} = frame(view, chart, labelled(xAxis, xFormat), labelled(yAxis, yFormat));
    const px = v => X(xAxis.at(v)), py = v => Y(yAxis.at(v));
    series.forEach((s, j) => {
      // Where curves lie upon one another, the later ones are thinner.
      const paint = {stroke: colour(s.m), "stroke-width": Math.max(1.8, 4.2 - 0.8 * j), "stroke-dasharray": dash(s.m),
                     class: "mark line", "data-method": s.m};
      if (s.spread) {
        if (s.y[0] === null) return;
        const upto = s.hi[0] === null ? box.top : py(s.hi[0]);
        svg(root, "line", {...paint, "stroke-width": 1.4, "stroke-dasharray": "", x1: px(s.x[0]), x2: px(s.x[0]), y1: py(s.y[0]), y2: upto});
        svg(root, "line", {...paint, "stroke-width": 2.2, "stroke-dasharray": "", x1: px(s.spread[0]), x2: px(s.spread[1]), y1: py(s.y[0]), y2: py(s.y[0])});
        svg(root, "circle", {class: "mark dot", cx: px(s.x[0]), cy: py(s.y[0]), r: 5, fill: colour(s.m)});
        return;
      }
      if (s.hi) {
        const inside = s.x.map((x, i) => i).filter(i => s.y[i] !== null);
        const up = v => v === null ? box.top : py(v);
        const edge = (list, values) => list.map(i => `${px(s.x[i]).toFixed(1)},${up(values[i]).toFixed(1)}`).join(" L");
        if (inside.length > 1)
          svg(root, "path", {class: "mark band", fill: colour(s.m), d: `M${edge(inside, s.hi)} L${edge([...inside].reverse(), s.y)} Z`});
      }
      let path = "", pen = false, last = 0;
      s.x.forEach((x, i) => {
        if (s.y[i] === null) { pen = false; return; }
        const at = px(x).toFixed(1), up = py(s.y[i]).toFixed(1);
        path += !pen ? `M${at},${up}` : chart.step ? `H${at}V${up}` : `L${at},${up}`;
        pen = true;
        last = i;
      });
      if (chart.step && pen) path += `H${X(1).toFixed(1)}`;
      svg(root, "path", {...paint, d: path});
    });
    const cursor = svg(root, "line", {class: "cursor", y1: box.top, y2: box.bottom, x1: 0, x2: 0, visibility: "hidden"});
    listen(view, root, (x, y) => {
      if (!(x >= box.left - 6 && x <= box.right + 6 && y <= box.bottom + 6)) { cursor.setAttribute("visibility", "hidden"); return null; }
      const t = Math.min(1, Math.max(0, (x - box.left) / (box.right - box.left))), value = xAxis.back(t);
      cursor.setAttribute("x1", X(t)); cursor.setAttribute("x2", X(t)); cursor.setAttribute("visibility", "visible");
      const found = [{head: true, text: xFormat(value)}];
      for (const s of series) {
        const name = data.methods[s.m];
        if (s.spread) {
          const end = `${s.y[0] === null ? "no bound" : yFormat(s.y[0])} at ${xFormat(s.x[0])}`;
          found.push({m: s.m, text: name, value: end});
          continue;
        }
        let i = -1;
        while (i + 1 < s.x.length && s.x[i + 1] <= value * (1 + 1e-9) + (chart.x.floor || 0)) i++;
        const known = i >= 0 && s.y[i] !== null;
        found.push({m: s.m, text: name, value: known ? yFormat(s.y[i]) : chart.step ? "0 %" : "no gap yet"});
      }
      return found;
    });
  }

  // ------------------------------------------------------------ ranges: quantiles at sizes
  // Where sizes stand on a logarithmic axis, moved apart where the marks of two would lie upon one another.
  function placesOf(logs, slot) {
    const low = Math.min(...logs), span = Math.max(...logs) - low;
    const wanted = logs.map(v => slot / 2 + (span > 0 ? (v - low) / span : 0.5) * (1 - slot)), least = 0.6 * slot;
    const places = [...wanted];
    for (let i = 1; i < places.length; i++) places[i] = Math.max(places[i], places[i - 1] + least);
    places[places.length - 1] = wanted[wanted.length - 1];
    for (let i = places.length - 2; i >= 0; i--) places[i] = Math.min(places[i], places[i + 1] - least);
    return places;
  }
  function ranges(view, chart, panel) {
    const series = panel.series.filter(s => !state.hidden.has(s.m)), names = chart.x.categories;
    const ys = series.flatMap(s => known([...s.y, ...s.lo, ...s.hi, ...s.worst]));
    const yAxis = axisOf(chart.y, ys), format = FORMAT[chart.y.unit], slot = 1 / names.length;
    const centre = placesOf(chart.x.at, slot), xTicks = names.map((name, i) => ({at: centre[i], text: name}));
    const {root, X, Y, box} = frame(view, chart, xTicks, labelled(yAxis, format));
    const py = v => v === null ? box.top : Y(Math.min(1, yAxis.at(v))), marks = [];
    series.forEach((s, j) => s.x.forEach((category, i) => {
      const x = X(centre[category] + 0.5 * ((j + 0.5) / series.length - 0.5) * slot), paint = colour(s.m);
      const at = {x1: x, x2: x, y1: py(s.lo[i]), y2: py(s.hi[i])};
      svg(root, "line", {class: "mark bar", stroke: paint, ...at});
      svg(root, "circle", {class: "mark ring", stroke: paint, cx: x, cy: py(s.worst[i]), r: 3.2});
      svg(root, "circle", {class: "mark dot", fill: paint, cx: x, cy: py(s.y[i]), r: 4});
      marks.push({x, s, i, category});
    }));
    const say = v => v === null ? "no bound" : format(v);
    listen(view, root, x => {
      if (!(x >= box.left && x <= box.right) || !marks.length) return null;
      const {s, i, category} = marks.reduce((a, b) => Math.abs(a.x - x) <= Math.abs(b.x - x) ? a : b);
      return [{m: s.m, text: data.methods[s.m], head: true},
              {text: `${s.blocks[i].toLocaleString("en")} blocks of ${names[category]} weights`},
              {text: "median", value: say(s.y[i])}, {text: "10 % to 90 %", value: `${say(s.lo[i])} to ${say(s.hi[i])}`},
              {text: `worst: ${cut(s.at[i], 60)}`, value: say(s.worst[i])}];
    });
  }

  // ------------------------------------------------------------ heat maps
  function heat(view, chart, panel) {
    const {rows, columns, cells} = panel, width = Math.max(260, view.plot.clientWidth), count = cells[0].length;
    const labels = withoutEnding(rows), longest = Math.max(...labels.map(label => label.length)), letter = 0.56 * FONT;
    const left = Math.min(0.34 * width, longest * letter + 12), row = 22;
    const wide = columns.length ? Math.max(...columns.map(c => c.length)) * letter : 0;
    const turned = wide > (width - left) / count - 4, cell = (width - left - 6 - (turned ? 56 : 0)) / count;
    const head = !columns.length ? 6 : turned ? Math.min(110, 0.72 * wide + 18) : 24, height = head + rows.length * row + 6;
    view.plot.replaceChildren();
    const root = svg(view.plot, "svg", {viewBox: `0 0 ${width} ${height}`, width, height, role: "img",
                                         "aria-label": `${chart.title}. ${chart.caption}`});
    const gap = panel.unit === "gap", share = panel.unit === "share", floor = 1e-6;
    const format = panel.unit === "seconds" ? seconds : v => gap && v <= floor ? "0 %" : percent(v);
    const positive = cells.flat().filter(v => v !== null && v > (gap ? floor : 0));
    const low = Math.min(...positive), high = Math.max(...positive);
    const strength = v => share ? v : high > low ? Math.log(v / low) / Math.log(high / low) : 1;
    const every = turned ? Math.ceil(15 / cell) : 1;
    columns.forEach((name, c) => {
      if (c % every) return;
      const x = left + (c + 0.5) * cell, room = turned ? (head - 14) / 0.72 : cell;
      const place = turned ? {transform: `translate(${x + 3} ${head - 6}) rotate(-45)`} : {x, y: head - 8, "text-anchor": "middle"};
      svg(root, "text", {class: "tick", ...place}, cutInside(name, Math.floor(room / letter)));
    });
    labels.forEach((name, r) => {
      const y = head + r * row;
      svg(root, "text", {class: "tick", x: left - 7, y: y + row / 2 + 4, "text-anchor": "end"}, cut(name, Math.floor((left - 8) / letter)));
      cells[r].forEach((v, c) => {
        const none = v === null, zero = !none && (gap ? v <= floor : v === 0), seam = columns.length ? 1.5 : 0.5;
        svg(root, "rect", {class: `mark cell ${none ? "none" : zero ? "zero" : "hot"}`, x: left + c * cell, y: y + 1,
                           width: Math.max(1, cell - seam), height: row - 2, rx: columns.length ? 3 : 0,
                           "fill-opacity": none ? 1 : zero ? 0.75 : (0.14 + 0.8 * strength(v)).toFixed(3)});
        const text = none ? "–" : format(v);
        if (columns.length && text.length * letter < cell - 4)
          svg(root, "text", {class: `value${!none && !zero && strength(v) > 0.55 ? " strong" : ""}`, x: left + (c + 0.5) * cell, y: y + row / 2 + 4,
                             "text-anchor": "middle"}, text);
      });
    });
    listen(view, root, (x, y) => {
      const c = Math.floor((x - left) / cell), r = Math.floor((y - head) / row);
      if (!(c >= 0 && c < count && r >= 0 && r < rows.length)) return null;
      const v = cells[r][c], value = v === null ? "no number" : format(v);
      const at = panel.at[r][c] ? [{text: panel.at[r][c]}] : [];
      if (columns.length) return [{text: rows[r], head: true}, {text: columns[c], value}, ...at];
      const part = `${Math.round(100 * c / count)} to ${Math.round(100 * (c + 1) / count)} % of its weights`;
      return [{text: rows[r], head: true}, {text: part, value}, ...at];
    });
    key(view, positive.length ? [format(share ? 0 : low), format(share ? 1 : high)] : null, gap ? "proven" : "0");
  }
  function key(view, range, zero) {
    view.legend.replaceChildren();
    const item = (className, text) => { const node = html(view.legend, "span", "key"); html(node, "i", className); html(node, "span", "", text); };
    item("zero", zero);
    if (range) { const node = html(view.legend, "span", "key"); html(node, "span", "", range[0]); html(node, "i", "scale"); html(node, "span", "", range[1]); }
    item("none", "no number");
  }

  // ------------------------------------------------------------ the page
  const DRAW = {lines, ranges, heat};
  const tip = html(document.body, "div", "tip");
  tip.hidden = true;
  tip.setAttribute("role", "status");

  function legend(view, panel) {
    view.legend.replaceChildren();
    for (const {m} of panel.series) {
      const button = html(view.legend, "button", "key");
      button.type = "button";
      button.setAttribute("aria-pressed", String(!state.hidden.has(m)));
      button.title = "show or hide in all charts";
      html(button, "i").style.background = colour(m);
      html(button, "span", "", data.methods[m]);
      button.addEventListener("click", () => {
        if (!state.hidden.delete(m)) state.hidden.add(m);
        views.forEach(draw);
      });
    }
  }
  function draw(view) {
    const {chart} = view;
    const panels = chart.panels.filter(panel => panel.asked === state.asked);
    const panel = panels.find(panel => panel.choice === view.choice) || panels[0];
    view.note.textContent = panel ? panel.note : "";
    if (!panel) {
      view.plot.replaceChildren();
      view.legend.replaceChildren();
      html(view.plot, "p", "soft", `Nothing to draw at ${data.asked[state.asked]}.`);
      return;
    }
    if (panel.series) legend(view, panel);
    DRAW[chart.kind](view, chart, panel);
  }
  function choices(parent, names, label, choose) {
    const group = html(parent, "div", "choices");
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", label);
    const buttons = names.map((name, i) => {
      const button = html(group, "button", "", name);
      button.type = "button";
      button.setAttribute("aria-pressed", String(i === 0));
      button.addEventListener("click", () => {
        buttons.forEach(other => other.setAttribute("aria-pressed", String(other === button)));
        choose(i);
      });
      return button;
    });
  }

  const place = document.getElementById("charts"), views = [];
  place.replaceChildren();
  if (data.asked.length > 1)
    choices(html(place, "div", "asked"), data.asked, "what was asked for", i => { state.asked = i; views.forEach(draw); });
  for (const chart of data.charts) {
    const figure = html(place, "figure");
    figure.id = chart.id;
    html(figure, "h3", "", chart.title);
    const view = {chart, choice: null};
    const names = [...new Set(chart.panels.map(panel => panel.choice).filter(name => name !== undefined))];
    if (names.length > 1) {
      view.choice = names[0];
      choices(figure, names, "what is shown", i => { view.choice = names[i]; draw(view); });
    }
    view.legend = html(figure, "div", "legend");
    view.plot = html(figure, "div", "plot");
    html(figure, "figcaption", "", chart.caption);
    view.note = html(figure, "p", "thin");
    views.push(view);
    draw(view);
  }
  let width = 0;
  new ResizeObserver(() => {
    if (place.clientWidth !== width) { width = place.clientWidth; views.forEach(draw); }
  }).observe(place);
})();
