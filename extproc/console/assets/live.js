// What a page does without being loaded again: live parts, forms whose answer is a part, times in the viewer's
// zone, keys. Everything works without this file too, but for the live parts.

// The only place where strings become HTML. They come from the console itself, which has escaped every value.
const policy = window.trustedTypes?.createPolicy("console", { createHTML: (html) => html });
const trusted = (html) => (policy ? policy.createHTML(html) : html);

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

function localise(root) {
  const today = day.format(new Date());
  for (const element of root.querySelectorAll("time[datetime]:not([data-shown])")) {
    const moment = new Date(element.dateTime);
    const date = day.format(moment);
    element.textContent = (date === today ? "" : `${date}, `) + clock.format(moment);
    element.title = full.format(moment);
    element.dataset.shown = "";
  }
}

function insert(element, how, html) {
  const keeper = element.contains(document.activeElement) ? document.activeElement : null;
  if (how === "replace") {
    // What a person is typing into, or stands on, stays as it is until the next update.
    if (keeper?.matches("input, select, textarea, button")) return;
    const place = keeper?.getAttribute("href");
    element.innerHTML = trusted(html);
    if (place) element.querySelector(`[href="${CSS.escape(place)}"]`)?.focus({ preventScroll: true });
  } else {
    const rows = document.createElement("template");
    rows.innerHTML = trusted(html);
    for (const row of rows.content.children) row.classList.add("new");
    document.querySelector("[data-empty]")?.remove();
    element.prepend(rows.content);
    while (element.rows.length > Number(element.dataset.keep)) element.deleteRow(-1);
  }
  localise(element);
}

function follow(element) {
  let source = null;
  let last = null;
  const open = () => {
    const url = new URL(element.dataset.events, location.href);
    if (last) url.searchParams.set("after", last);
    source = new EventSource(url);
    source.onmessage = (event) => {
      const update = JSON.parse(event.data);
      last = event.lastEventId;
      if (update.html) insert(document.getElementById(update.target), update.how, update.html);
    };
    // A stream that is refused is not opened again by the browser: the session has ended.
    source.onerror = () => { if (source.readyState === EventSource.CLOSED) stale(); };
  };
  const close = () => { source?.close(); source = null; };
  const pause = document.querySelector("[data-pause]");
  pause?.addEventListener("click", () => {
    const paused = pause.getAttribute("aria-pressed") !== "true";
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Paused" : "Live";
    if (paused) close(); else open();
  });
  // A page that is not seen costs nothing.
  document.addEventListener("visibilitychange", () => {
    if (pause?.getAttribute("aria-pressed") === "true") return;
    if (document.hidden) close(); else if (!source) open();
  });
  addEventListener("pagehide", close);
  open();
}

function stale() {
  if (document.querySelector(".stale")) return;
  const notice = document.createElement("p");
  notice.className = "notice stale";
  notice.setAttribute("role", "status");
  notice.textContent = "This page gets no news: the session has ended, or the console is away. Load it again.";
  document.getElementById("main").prepend(notice);
}

async function submit(form) {
  const target = document.getElementById(form.dataset.fragment);
  target.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(form.action, {
      method: "POST",
      body: new URLSearchParams(new FormData(form)),
      headers: { "x-console-fragment": "1" },
    });
    if (!answer.ok) throw new Error();
    insert(target, "replace", await answer.text());
    const card = target.closest(".card");
    const { top } = card.getBoundingClientRect();
    if (top < 0 || top > innerHeight / 2) card.scrollIntoView(); // the button is at the end of a long form
  } catch {
    stale();
  }
  target.removeAttribute("aria-busy");
}

for (const form of document.querySelectorAll("form[data-fragment]")) {
  form.addEventListener("submit", (event) => { event.preventDefault(); submit(form); });
}

// A row leads where its link leads, unless somebody selects text.
document.addEventListener("click", (event) => {
  const row = event.target.closest(".rows tbody tr");
  if (!row || event.target.closest("a, button, form") || String(getSelection())) return;
  const { ctrlKey, metaKey } = event; // for another tab
  row.querySelector("a")?.dispatchEvent(new MouseEvent("click", { ctrlKey, metaKey, cancelable: true }));
});

// A minute is asked for in the viewer's zone, and sent with its offset from UTC.
for (const input of document.querySelectorAll("input[data-zoned]")) {
  const pad = (number) => String(number).padStart(2, "0");
  if (input.dataset.zoned) {
    const moment = new Date(input.dataset.zoned.replace(" ", "+"));
    if (!Number.isNaN(moment.valueOf())) {
      const date = [moment.getFullYear(), pad(moment.getMonth() + 1), pad(moment.getDate())].join("-");
      input.value = `${date}T${pad(moment.getHours())}:${pad(moment.getMinutes())}`;
    }
  }
  input.form.addEventListener("formdata", (event) => {
    if (!input.value) return event.formData.delete(input.name);
    const offset = -new Date(input.value).getTimezoneOffset();
    const size = Math.abs(offset);
    const zone = `${offset < 0 ? "-" : "+"}${pad(Math.floor(size / 60))}:${pad(size % 60)}`;
    event.formData.set(input.name, input.value + zone);
  });
}

// Filters that are empty stay out of the URL, so that it is short enough to be shared.
for (const form of document.querySelectorAll("form.filters")) {
  form.addEventListener("formdata", (event) => {
    for (const [name, value] of [...event.formData]) if (value === "") event.formData.delete(name);
  });
}

const pages = { o: "/", d: "/decisions", s: "/sessions", t: "/try", p: "/policy", e: "/envoy" };
let going = 0;
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
  if (event.key === "/") {
    const filter = document.querySelector("[data-filter]");
    if (filter) { event.preventDefault(); filter.focus(); }
  } else if (event.key === "g") {
    going = event.timeStamp;
  } else if (event.timeStamp - going < 1500 && pages[event.key]) {
    location.assign(pages[event.key]);
  }
});

for (const zone of document.querySelectorAll("[data-zone]")) {
  zone.textContent = Intl.DateTimeFormat().resolvedOptions().timeZone;
}
localise(document);
for (const element of document.querySelectorAll("[data-events]")) follow(element);
