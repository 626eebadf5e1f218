"use strict";
(() => {
  // A link into a closed part opens it, also where the browser does not do so itself.
  const reveal = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();

  // A click on a heading sorts the rows of each section of its table; a second click turns the order round.
  const key = (row, column) => {
    const text = row.cells[column].textContent.trim();
    const [digits, unit] = text.match(/^[<~]?([+-]?[\d.,]+)([KMB]?)/)?.slice(1) ?? ["", ""];
    const number = parseFloat(digits.replaceAll(",", "")) * { K: 1e3, M: 1e6, B: 1e9, "": 1 }[unit];
    return { text, number };
  };
  const compare = (a, b, sign) => {
    const numbers = !Number.isNaN(a.number) && !Number.isNaN(b.number);
    if (!numbers && Number.isNaN(a.number) !== Number.isNaN(b.number)) return Number.isNaN(a.number) - Number.isNaN(b.number);
    return sign * (numbers ? a.number - b.number : a.text.localeCompare(b.text));
  };
  const sort = (table, heading) => {
    const down = heading.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    for (const body of table.tBodies) {
      const rows = [...body.rows].filter((row) => !row.classList.contains("section"));
      const keyed = rows.map((row) => [key(row, heading.cellIndex), row]);
      keyed.sort((a, b) => compare(a[0], b[0], down ? -1 : 1));
      body.append(...keyed.map(([, row]) => row));
    }
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    for (const heading of table.tHead.rows[0].cells) {
      if (heading.classList.contains("plain")) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      button.addEventListener("click", () => sort(table, heading));
      heading.append(button);
    }
  }

  // A click on a figure shows it alone.
  const zoom = document.getElementById("zoom");
  const large = zoom.querySelector("img");
  for (const image of document.querySelectorAll("figure img")) {
    image.parentElement.addEventListener("click", (event) => {
      event.preventDefault();
      large.src = image.src;
      large.alt = image.alt;
      zoom.showModal();
    });
  }
  zoom.addEventListener("click", (event) => { if (event.target !== large) zoom.close(); });

  // What is folded is printed, but for the lists of trials.
  addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details:not(.study)")) part.open = true;
  });
})();
