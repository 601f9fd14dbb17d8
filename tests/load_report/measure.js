(width) => {
  const problems = [];
  const name = (it) => {
    const own = it.nodeType === Node.TEXT_NODE ? it.parentElement : it;
    const section = own.closest("section");
    const text = (it.textContent || "").trim().slice(0, 40);
    return `${section ? "#" + section.id + " " : ""}<${own.tagName.toLowerCase()}> "${text}"`;
  };
  const say = (what, ...who) => problems.push(`${what}: ${who.map(name).join(" and ")}`);
  const closed = [...document.querySelectorAll("details:not([open])")];
  closed.forEach((it) => { it.open = true; });

  const root = document.documentElement;
  if (window.innerWidth !== width) problems.push(`the page is ${window.innerWidth} wide, and not ${width}`);
  if (root.scrollWidth > width) problems.push(`the page scrolls sideways: it is ${root.scrollWidth} wide`);

  const shown = (it) => {
    const box = it.getBoundingClientRect();
    return box.width > 0 && box.height > 0 && getComputedStyle(it).visibility !== "hidden";
  };
  for (const it of document.querySelectorAll("body *")) {
    if (!shown(it)) continue;
    const box = it.getBoundingClientRect();
    if (box.right > width + 0.5 || box.left < -0.5) say("reaches out of the page", it);
    const clips = it instanceof HTMLElement && getComputedStyle(it).display !== "inline";
    if (clips && it.scrollWidth > it.clientWidth + 1 && it.clientWidth > 0) say("does not hold what is in it", it);
  }

  // Where text stands, line by line.
  const texts = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode;
    if (!node.data.trim() || node.parentElement.closest("title")) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) if (box.width > 0 && box.height > 0) texts.push({ node, box });
  }
  for (const { node, box } of texts) if (box.height < 11) say("is too small to read", node);
  texts.sort((a, b) => a.box.top - b.box.top);
  for (let i = 0; i < texts.length; i++) {
    for (let j = i + 1; j < texts.length && texts[j].box.top < texts[i].box.bottom; j++) {
      const [a, b] = [texts[i], texts[j]];
      if (a.node === b.node) continue;
      const across = Math.min(a.box.right, b.box.right) - Math.max(a.box.left, b.box.left);
      const down = Math.min(a.box.bottom, b.box.bottom) - Math.max(a.box.top, b.box.top);
      if (across > 1 && down > 3) say("overlap", a.node, b.node);
    }
  }

  const sections = [...document.querySelectorAll("section")];
  if (sections.length === 0) problems.push("there is no section");
  sections.forEach((section, at) => {
    const next = sections[at + 1];
    if (next && section.getBoundingClientRect().bottom > next.getBoundingClientRect().top) say("overlap", section, next);
    const rest = [...section.children].filter((it) => !/^H[1-6]$/.test(it.tagName) && shown(it));
    if (rest.length === 0 || rest.every((it) => !it.textContent.trim() && !it.querySelector("svg") && it.tagName !== "svg")) {
      say("is empty", section);
    }
    for (const table of section.querySelectorAll("table")) if (!table.querySelector("td")) say("is empty", table);
    for (const svg of [...section.querySelectorAll("svg")].filter(shown)) {
      const drawn = [...svg.querySelectorAll(".line, .bar, .dot")];
      if (!drawn.some((it) => it.tagName !== "path" || it.getAttribute("d"))) say("shows nothing", svg);
    }
  });
  closed.forEach((it) => { it.open = false; });
  return problems;
}
