"use strict";
(() => {
  const root = document.documentElement;
  const phrases = JSON.parse(document.getElementById("phrases").textContent);
  const place = document.getElementById("running");
  const lang = () => (root.lang === "en" ? "en" : "zh");
  const said = (key) => phrases[lang()][key];
  let last = [];

  const made = (tag, text, cls) => Object.assign(document.createElement(tag), { textContent: text ?? "", className: cls ?? "" });
  const digits = (value) => (value == null ? "\u2013" : Number(value.toPrecision(4)).toString());
  const duration = (s) => (s < 100 ? `${Math.round(s)} s` : `${Math.round(s / 60)} min`);

  // everything is put in as text: models name themselves, and may be anybody's
  function show(sheets) {
    last = sheets;
    place.replaceChildren();
    if (!sheets.length) place.append(made("p", said("nothing_runs")));
    for (const sheet of sheets) {
      const now = sheet.progress;
      place.append(made("h3", sheet.title || "speedsheet"));
      if (now) {
        const left = now.sheet_left_s == null ? "" : `, ${duration(now.sheet_left_s)} ${said("left")}`;
        place.append(made("p", `${now.row} / ${now.rows} ${now.label}: ${now.stage}${left}`));
        const bar = document.createElement("progress");
        bar.max = sheet.rows.length;
        bar.value = sheet.done.length + (now.done ?? 0) * (sheet.done.length < sheet.rows.length);
        bar.setAttribute("aria-label", said("live"));
        place.append(bar);
      }
      if (sheet.done.length) place.append(rows(sheet.done));
    }
  }
  function rows(done) {
    const table = document.createElement("table");
    const head = table.createTHead().insertRow();
    for (const key of ["sheet", "precision", "engine", "throughput_axis"]) {
      const cell = made("th", said(key));
      cell.scope = "col";
      head.append(cell);
    }
    const body = table.createTBody();
    for (const row of done) {
      const line = body.insertRow();
      line.className = row.status;
      const name = line.insertCell();
      if (row.record) {
        const link = made("a", row.model);
        link.href = `/record/${encodeURIComponent(row.record)}`;
        name.append(link);
      } else name.textContent = row.model;
      line.insertCell().textContent = (row.precision ?? "").toUpperCase();
      line.insertCell().textContent = row.engine ?? "";
      const half = row.half_width == null ? "" : ` \u00b1 ${(row.half_width * 100).toPrecision(2)} %`;
      line.insertCell().textContent = row.status === "ok" ? digits(row.samples_per_s) + half : `${row.status}: ${row.error ?? ""}`;
    }
    return table;
  }
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
