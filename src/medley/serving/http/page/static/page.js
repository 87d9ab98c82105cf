// Makes forms live and the map walkable. Everything here also works without this script, by sending the form.
const WAIT = 150; // milliseconds after the last change
const status = document.getElementById("status");
const say = (text, isProblem = false) => {
  status.textContent = text;
  status.className = isProblem ? "note bad toast" : "unseen";
};

// A form with data-live="id" asks for its own page at every change, and takes the element with this id out of the answer.
for (const form of document.querySelectorAll("form[data-live]")) {
  const id = form.dataset.live;
  let timer, running;

  const refresh = async () => {
    running?.abort();
    running = new AbortController();
    const address = new URL(form.action);
    address.search = new URLSearchParams(new FormData(form));
    const target = document.getElementById(id);
    target.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(address, { signal: running.signal, headers: { Accept: "text/html" } });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById(id);
      if (answer.ok && fresh) {
        target.replaceChildren(...fresh.childNodes);
        history.replaceState(null, "", address);
        say(`${target.querySelectorAll("li").length} entries`);
      } else {
        say(page.querySelector("[role=alert] p")?.textContent || `The service answered ${answer.status}.`, true);
      }
    } catch (error) {
      if (error.name === "AbortError") return; // a newer question is on its way
      say("The service cannot be reached.", true);
    }
    target.setAttribute("aria-busy", "false");
  };
  const soon = () => {
    for (const range of form.querySelectorAll("input[type=range]")) {
      range.nextElementSibling.value = Number(range.value).toFixed(range.step.split(".")[1].length);
    }
    clearTimeout(timer);
    timer = setTimeout(refresh, WAIT);
  };

  form.addEventListener("input", soon);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(timer);
    refresh();
  });
  for (const button of form.querySelectorAll(".only-plain")) button.hidden = true;
  for (const button of form.querySelectorAll("[data-reset]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      for (const range of form.querySelectorAll("input[type=range]")) range.value = range.name === "diversity" ? 0 : 1;
      soon();
    });
  }
}

// The map: one tab stop, arrow keys go to the nearest item in their direction, the title of the item is shown above.
const map = document.getElementById("map");
if (map) {
  const pointed = document.getElementById("pointed");
  const links = [...map.querySelectorAll("a")];
  const place = (link) => {
    const { cx, cy } = link.firstElementChild;
    return [cx.baseVal.value, cy.baseVal.value];
  };
  const show = (event) => {
    const link = event.target.closest("a");
    if (link) pointed.textContent = link.getAttribute("aria-label");
  };
  const directions = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };

  for (const title of map.querySelectorAll("title")) title.remove(); // shown above, at once
  map.addEventListener("mouseover", show);
  map.addEventListener("focusin", show);
  map.addEventListener("keydown", (event) => {
    const direction = directions[event.key];
    const here = event.target.closest("a");
    if (!direction || !here) return;
    event.preventDefault();
    const [x, y] = place(here);
    let best = null, least = Infinity;
    for (const link of links) {
      const [right, down] = [place(link)[0] - x, place(link)[1] - y];
      const ahead = right * direction[0] + down * direction[1];
      const aside = Math.abs(right * direction[1]) + Math.abs(down * direction[0]);
      if (ahead > 0 && aside <= 2 * ahead && ahead + 2 * aside < least) [best, least] = [link, ahead + 2 * aside];
    }
    if (!best) return;
    here.tabIndex = -1;
    best.tabIndex = 0;
    best.focus();
  });
}
