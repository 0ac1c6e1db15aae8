// Looks at each plot where it is laid out, and leaves what it found in the page.
addEventListener("load", () => {
  const box = (element) => element.getBoundingClientRect();
  const out = (inner, outer) => Math.max(
    outer.left - inner.left, outer.top - inner.top, inner.right - outer.right, inner.bottom - outer.bottom);
  // Boxes have some room above and below the letters.
  const overlap = (a, b) =>
    Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
    Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4;
  const plots = [...document.querySelectorAll("svg")].map((svg) => {
    const outer = box(svg);
    const texts = [...svg.querySelectorAll("text")];
    const shapes = [...svg.querySelectorAll("polyline, line, rect, circle, polygon")]
      .filter((shape) => box(shape).width + box(shape).height > 0);
    const colour = (shape) => {
      const style = getComputedStyle(shape);
      return style.fill === "none" ? style.stroke : style.fill;
    };
    const overlaps = [];
    texts.forEach((a, i) => texts.slice(i + 1).forEach((b) => {
      if (overlap(box(a), box(b))) overlaps.push([a.textContent.trim(), b.textContent.trim()]);
    }));
    const named = svg.getAttribute("aria-labelledby").split(" ")
      .every((id) => document.getElementById(id)?.textContent.length > 3);
    return {
      name: svg.closest("figure").id,
      width: outer.width,
      height: outer.height,
      drawn: shapes.length - 1,
      colours: new Set(shapes.map(colour)).size,
      paper: getComputedStyle(svg.querySelector("rect")).fill,
      named: named && svg.closest("figure").querySelector("figcaption").textContent.length > 3,
      overlaps,
      texts: texts.map((text) => ({
        text: text.textContent.trim(),
        upright: /rotate/.test(text.getAttribute("transform") ?? ""),
        out: out(box(text), outer),
        size: parseFloat(getComputedStyle(text).fontSize) * outer.width / svg.viewBox.baseVal.width,
        height: box(text).height,
      })),
    };
  });
  const result = document.createElement("pre");
  result.id = "measured";
  result.textContent = JSON.stringify({
    width: innerWidth,
    scroll_width: document.documentElement.scrollWidth,
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    background: getComputedStyle(document.body).backgroundColor,
    plots,
    pictures: [...document.querySelectorAll("img.picture")].map((picture) => picture.naturalWidth),
  });
  top.document.body.append(result);
});
