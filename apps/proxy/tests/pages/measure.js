// Looks at a page as it is laid out: what is cut off, what lies on what, what was drawn.
(() => {
  const box = (element) => element.getBoundingClientRect();
  const visible = (element) => box(element).width > 0;
  const out = (inner, outer) => Math.max(
    outer.left - inner.left, outer.top - inner.top, inner.right - outer.right, inner.bottom - outer.bottom);
  // Boxes have some room above and below the letters.
  const overlap = (a, b) =>
    Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
    Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4;
  const screen = { left: 0, right: innerWidth, top: -1e9, bottom: 1e9 };
  const letters = [...document.querySelectorAll("h1, h2, p, dt, dd, li, figcaption, label, button, footer, td, th, code")]
    .filter((element) => visible(element) && element.textContent.trim());
  const range = document.createRange();
  const cut = letters.filter((element) => {
    range.selectNodeContents(element);
    const parent = element.closest("#tiles div, figure, section, header, footer, tr") ?? document.body;
    return out(box(range), screen) > 0.5 || box(range).right > box(parent).right + 0.5;
  });
  return JSON.stringify({
    width: innerWidth,
    scroll_width: document.documentElement.scrollWidth,
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    background: getComputedStyle(document.body).backgroundColor,
    letters: letters.length,
    cut: cut.map((element) => element.textContent.trim()),
    plots: [...document.querySelectorAll("svg")].filter(visible).map((svg) => {
      const texts = [...svg.querySelectorAll("text")];
      const lines = [...svg.querySelectorAll("polyline")];
      const overlaps = [];
      texts.forEach((a, i) => texts.slice(i + 1).forEach((b) => {
        if (overlap(box(a), box(b))) overlaps.push([a.textContent, b.textContent]);
      }));
      return {
        name: svg.closest("figure").querySelector("figcaption").textContent,
        label: svg.getAttribute("aria-label"),
        legend: [...svg.closest("figure").querySelectorAll("li")].map((item) => item.textContent),
        width: box(svg).width,
        points: lines.map((line) => line.points.numberOfItems),
        sticks_out: lines.filter((line) => out(box(line), box(svg)) > 0.5).length,
        colours: new Set(lines.map((line) => getComputedStyle(line).stroke)).size,
        texts: texts.map((text) => text.textContent),
        out: texts.filter((text) => out(box(text), box(svg)) > 0.5).map((text) => text.textContent),
        overlaps,
      };
    }),
  });
})()
