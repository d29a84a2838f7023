"use strict";
(() => {
  const root = document.documentElement;
  const phrases = JSON.parse(document.getElementById("phrases").textContent);
  const place = document.getElementById("running");
  const idle = document.getElementById("idle");
  const news = document.getElementById("news");
  const HEADS = ["sheet", "precision", "engine", "throughput_axis"];
  const lang = () => (root.lang === "en" ? "en" : "zh");
  const said = (key) => phrases[lang()][key];
  const parts = new Map();
  let last = [];

  const made = (tag, text, cls) => Object.assign(document.createElement(tag), { textContent: text ?? "", className: cls ?? "" });
  const digits = (value) => (value == null ? "\u2013" : Number(value.toPrecision(4)).toString());
  const duration = (s) => (s < 100 ? `${Math.round(s)} s` : `${Math.round(s / 60)} min`);

  const put = (node, text) => {
    if (node.textContent !== text) node.textContent = text;
  };

  // everything is put in as text: models name themselves, and may be anybody's. What stands there already is changed in
  // place, so that focus stays where it is; what is told aloud is a row that is done
  function show(sheets) {
    last = sheets;
    idle.hidden = sheets.length > 0;
    const known = new Map(sheets.map((sheet) => [`${sheet.pid} ${sheet.started_s} ${sheet.title}`, sheet]));
    for (const [name, part] of parts) {
      if (known.has(name)) continue;
      part.box.remove();
      parts.delete(name);
    }
    for (const [name, sheet] of known) {
      const seen = parts.get(name);
      const part = seen ?? begun(sheet);
      parts.set(name, part);
      const more = sheet.done.length - part.body.rows.length;
      update(part, sheet);
      if (seen && more > 0) put(news, told(sheet.done.at(-1)));
    }
  }
  function begun(sheet) {
    const part = {
      box: document.createElement("div"), line: made("p"), bar: document.createElement("progress"),
      table: document.createElement("table"),
    };
    part.heads = part.table.createTHead().insertRow();
    for (const _ of HEADS) part.heads.append(Object.assign(document.createElement("th"), { scope: "col" }));
    part.body = part.table.createTBody();
    part.box.append(made("h3", sheet.title || "speedsheet"), part.line, part.bar, part.table);
    place.append(part.box);
    return part;
  }
  function update(part, sheet) {
    const now = sheet.progress;
    part.line.hidden = part.bar.hidden = !now;
    if (now) {
      const left = now.sheet_left_s == null ? "" : `, ${duration(now.sheet_left_s)} ${said("left")}`;
      put(part.line, `${now.row} / ${now.rows} ${now.label}: ${sheet.stages?.[lang()] ?? now.stage}${left}`);
      part.bar.max = sheet.rows.length;
      part.bar.value = sheet.done.length + (now.done ?? 0) * (sheet.done.length < sheet.rows.length);
      part.bar.setAttribute("aria-label", said("live"));
    }
    part.table.hidden = !sheet.done.length;
    HEADS.forEach((key, n) => put(part.heads.cells[n], said(key)));
    if (sheet.done.length < part.body.rows.length) part.body.replaceChildren();
    sheet.done.forEach((row, n) => put((part.body.rows[n] ?? added(part.body, row)).cells[3], result(row)));
  }
  function added(body, row) {
    const line = body.insertRow();
    line.className = row.status;
    const link = () => Object.assign(made("a", row.model), { href: `/record/${encodeURIComponent(row.record)}` });
    line.insertCell().append(row.record ? link() : row.model);
    line.insertCell().textContent = (row.precision ?? "").toUpperCase();
    line.insertCell().textContent = row.engine ?? "";
    line.insertCell();
    return line;
  }
  function result(row) {
    const half = row.half_width == null ? "" : ` \u00b1 ${(row.half_width * 100).toPrecision(2)} %`;
    return row.status === "ok" ? digits(row.samples_per_s) + half : `${said(row.status) ?? row.status}: ${row.error ?? ""}`;
  }
  const told = (row) =>
    `${row.model} ${(row.precision ?? "").toUpperCase()}: ${result(row)}${row.status === "ok" ? ` ${said("throughput_axis")}` : ""}`;

  const source = new EventSource("/events");
  source.addEventListener("running", (event) => show(JSON.parse(event.data)));

  const dark = () =>
    root.dataset.theme === "dark" || (root.dataset.theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  const theme = localStorage.getItem("speedsheet-theme");
  if (theme) root.dataset.theme = theme;
  const speak = (chosen) => {
    root.lang = chosen === "zh" ? "zh-CN" : "en";
    show(last);
  };
  document.getElementById("language").addEventListener("click", () => {
    const chosen = lang() === "en" ? "zh" : "en";
    localStorage.setItem("speedsheet-lang", chosen);
    speak(chosen);
  });
  document.getElementById("theme").addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    localStorage.setItem("speedsheet-theme", root.dataset.theme);
  });
  speak(localStorage.getItem("speedsheet-lang") ?? lang());
})();
