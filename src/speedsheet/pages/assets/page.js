"use strict";
(() => {
  const root = document.documentElement;
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const phrases = JSON.parse(document.getElementById("phrases").textContent);
  const table = document.getElementById("rows");
  const rows = [...table.tBodies];
  const views = new Map();

  const lang = () => (root.lang === "en" ? "en" : "zh");
  const dark = () =>
    root.dataset.theme === "dark" || (root.dataset.theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);

  // --- sorting: a row and its details are one tbody; what has no key sorts last, whichever way
  const key = (body, column) => body.rows[0].cells[column].dataset.key;
  function sort(column, ascending) {
    const number = table.tHead.rows[0].cells[column].classList.contains("number");
    const order = (a, b) => {
      const [x, y] = [key(a, column), key(b, column)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const by = number ? Number(x) - Number(y) : x.localeCompare(y);
      return ascending ? by : -by;
    };
    [...rows].sort(order).forEach((body) => table.append(body));
  }
  for (const button of table.tHead.querySelectorAll("[data-sort]")) {
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const ascending = head.getAttribute("aria-sort") !== "ascending";
      for (const other of table.tHead.querySelectorAll("th")) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      sort(Number(button.dataset.sort), ascending);
    });
  }

  // --- filtering: by the text of a row and its details, and by the choices
  const filter = document.getElementById("filter");
  const choices = [...document.querySelectorAll("[data-choice]")];
  const texts = new Map(rows.map((body) => [body, body.textContent.toLowerCase()]));
  function filtered() {
    const wanted = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const body of rows) {
      const fits =
        wanted.every((word) => texts.get(body).includes(word)) &&
        choices.every((choice) => !choice.value || body.dataset[choice.dataset.choice] === choice.value);
      body.hidden = !fits;
      shown += fits;
    }
    const output = document.getElementById("shown");
    output.textContent = output.dataset[lang()].replace("{n}", shown).replace("{of}", rows.length);
  }
  filter.addEventListener("input", filtered);
  filter.form.addEventListener("submit", (event) => event.preventDefault());
  for (const choice of choices) choice.addEventListener("change", filtered);

  // --- details
  for (const button of table.querySelectorAll("button.open")) {
    button.addEventListener("click", () => {
      const details = document.getElementById(button.getAttribute("aria-controls"));
      const open = details.hidden;
      details.hidden = !open;
      button.setAttribute("aria-expanded", String(open));
      if (open) details.querySelectorAll("[data-chart]").forEach(draw);
    });
  }

  // --- charts: drawn when they come into sight, anew when language or theme change; phrases stand in them by MARK and key
  const MARK = "\u001f";
  const named = (value) => {
    if (typeof value === "string") return value.startsWith(MARK) ? (phrases[lang()][value.slice(1)] ?? value) : value;
    if (Array.isArray(value)) return value.map(named);
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, named(v)]));
    return value;
  };
  function look() {
    const style = getComputedStyle(root);
    const [ink, faint, line] = ["--ink", "--faint", "--line"].map((name) => style.getPropertyValue(name).trim());
    const text = { labelColor: ink, titleColor: ink, labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal" };
    return {
      background: "transparent", font: "system-ui, sans-serif", view: { stroke: null },
      axis: { ...text, gridColor: line, domainColor: faint, tickColor: faint },
      legend: { ...text, orient: "top" }, text: { color: ink },
      range: { category: { scheme: dark() ? "set2" : "dark2" } },
    };
  }
  async function draw(place) {
    const name = place.dataset.chart;
    const spec = { ...named(charts[name]), config: look() };
    const room = place.clientWidth;
    if (typeof spec.width === "number" && room > 200) spec.width = Math.max(180, Math.min(spec.width, room - 140));
    const options = { actions: false, renderer: "svg", tooltip: { theme: dark() ? "dark" : "light" } };
    const found = await vegaEmbed(place, spec, options);
    views.get(name)?.finalize();
    views.set(name, found);
    place.querySelector("svg")?.setAttribute("aria-hidden", "true");
  }
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting && !views.has(entry.target.dataset.chart)) draw(entry.target);
    }
  });
  document.querySelectorAll("[data-chart]").forEach((place) => seen.observe(place));
  const redraw = () =>
    document.querySelectorAll("[data-chart]").forEach((place) => views.has(place.dataset.chart) && draw(place));
  for (const button of document.querySelectorAll("[data-save]")) {
    button.addEventListener("click", async () => {
      const place = document.querySelector(`[data-chart="${button.dataset.of}"]`);
      if (!views.has(button.dataset.of)) await draw(place);
      const url = await views.get(button.dataset.of).view.toImageURL(button.dataset.save, 2);
      const link = Object.assign(document.createElement("a"), { href: url, download: `${button.dataset.of}.${button.dataset.save}` });
      link.click();
    });
  }

  // --- language and theme, kept where the browser lets a file keep things
  const kept = (name, value) => {
    try {
      if (value === undefined) return localStorage.getItem(`speedsheet-${name}`);
      localStorage.setItem(`speedsheet-${name}`, value);
    } catch { /* a file may have no storage */ }
    return value;
  };
  function speak(chosen) {
    root.lang = chosen === "zh" ? "zh-CN" : "en";
    for (const label of document.querySelectorAll("[data-en][data-zh]")) {
      const text = label.dataset[lang()];
      if (label.tagName === "INPUT") label.placeholder = text;
      else if (["OPTION", "TITLE"].includes(label.tagName)) label.textContent = text;
      else if (label.id !== "shown") label.setAttribute("aria-label", text);
    }
    filtered();
    redraw();
  }
  document.getElementById("language").addEventListener("click", () => speak(kept("lang", lang() === "en" ? "zh" : "en")));
  document.getElementById("theme").addEventListener("click", () => {
    root.dataset.theme = kept("theme", dark() ? "light" : "dark");
    redraw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  const theme = kept("theme");
  if (theme) root.dataset.theme = theme;
  speak(kept("lang") ?? lang());
})();
