/* Live updates that pause while the page is used, forms that keep their page, the theme, keys, copying, filters. */
(() => {
  "use strict";
  const $ = (id) => document.getElementById(id);
  const root = document.documentElement;
  root.dataset.script = "";
  // A reverse proxy may publish the pages under a prefix, which is part of the first page's address.
  const home = document.querySelector("a.brand").getAttribute("href");

  // The theme is kept in a cookie, so that the server renders the page with it.
  $("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    document.cookie = `pgdbm_theme=${root.dataset.theme}; path=${home}; max-age=31536000; samesite=lax`;
    document.dispatchEvent(new Event("theme"));
  });

  // Live updates. Updates pause while text is selected, during scrolling, while the pointer is over a control, and on
  // request.
  const SCROLLED_MS = 800;
  const POINTED_MS = 2500;
  let paused = false;
  let missed = false;
  let ended = false;
  let stale = false;
  let scrolled = -SCROLLED_MS;
  let pointed = -POINTED_MS;
  let connected = true;
  const now = () => performance.now();
  function reason() {
    if (paused) return "paused";
    if (String(getSelection()).length > 0) return "paused while text is selected";
    if (now() - scrolled < SCROLLED_MS) return "paused while you scroll";
    if (now() - pointed < POINTED_MS) return "paused while you point at it";
    return "";
  }
  function show() {
    const live = $("live");
    live.hidden = !document.querySelector("[data-live]");
    const why = reason();
    $("resume").hidden = !paused;
    live.classList.toggle("paused", why !== "" || stale || !connected);
    const text = why || (!connected ? "reconnecting" : stale ? "not up to date: the service cannot read the database" : "live");
    if (live.textContent === text) return;
    // Screen readers should not announce each pause while the page is scrolled.
    live.setAttribute("aria-live", why && !paused ? "off" : "polite");
    live.textContent = text;
  }
  // A message contains only changes: if one was skipped, the page is loaded again.
  async function refresh() {
    missed = false;
    // Without a connection, it is read once the connection is back.
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } }).catch(() => null);
    if (!answer?.ok) { missed = true; return; }
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-live]");
    const live = document.querySelector("[data-live]");
    if (!fresh || !live) { location.reload(); return; }
    for (const part of fresh.querySelectorAll("[id]")) {
      const here = $(part.id);
      if (!here || here.closest("form") || part.parentElement.closest("[data-live] [id]")) continue;
      here.replaceWith(document.importNode(part, true));
    }
    htmx.process(live);
    after();
  }
  function settle() {
    show();
    if (reason()) return;
    if (ended) location.reload(); else if (missed) refresh();
  }
  function pause(on) {
    paused = on;
    settle();
  }
  document.addEventListener("htmx:sse:before:message", (event) => {
    connected = true;
    if (!event.detail.message.event && reason()) {
      event.preventDefault();
      missed = true;
    }
    show();
  });
  const polls = (event) => event.target.matches?.("[hx-trigger^=every]");
  document.addEventListener("htmx:before:request", (event) => {
    if (polls(event) && (reason() || document.hidden)) event.preventDefault();
  });
  // A part of a page that cannot be read is left unchanged.
  document.addEventListener("htmx:after:request", (event) => {
    if (!polls(event)) return;
    connected = true;
    stale = event.detail.ctx.response.status >= 500;
    show();
  });
  document.addEventListener("htmx:error", (event) => {
    if (!polls(event)) return;
    connected = false;
    show();
  });
  document.addEventListener("htmx:sse:before:connection", (event) => { if (ended) event.preventDefault(); });
  document.addEventListener("htmx:sse:error", (event) => {
    connected = false;
    show();
    // The session ended while the connection was lost.
    if (event.detail?.status === 401) location.reload();
  });
  document.addEventListener("htmx:sse:after:connection", () => { connected = true; settle(); });
  document.addEventListener("htmx:sse:after:message", after);
  document.addEventListener("page:stale", () => { stale = true; show(); });
  document.addEventListener("page:fresh", () => { stale = false; show(); });
  // The page of a run that has ended is a different one. Like every update, it waits while someone is reading the page.
  document.addEventListener("run:ended", () => { ended = true; settle(); });
  // The session ended, here or elsewhere: reloading leads to the sign-in page, and back here.
  document.addEventListener("session:ended", () => location.reload());
  document.addEventListener("selectionchange", settle);
  addEventListener("scroll", () => { scrolled = now(); show(); setTimeout(settle, SCROLLED_MS + 20); }, { passive: true });
  document.addEventListener("pointermove", (event) => {
    if (event.pointerType !== "mouse" || !event.target.closest?.("[data-live] :is(a, button)")) return;
    pointed = now();
    show();
    setTimeout(settle, POINTED_MS + 20);
  }, { passive: true });
  $("resume").addEventListener("click", () => pause(false));

  // Open details stay open, and closed ones stay closed.
  const opened = new Map();
  document.addEventListener("click", (event) => {
    const details = event.target.closest?.("summary")?.parentElement;
    if (details?.id) opened.set(details.id, !details.open);
  });
  function after() {
    for (const [id, open] of opened) { const one = $(id); if (one) one.open = open; }
    filter();
    show();
    reachable();
  }

  // A card that is wider than a phone's screen can be scrolled, with the keyboard too if nothing in it takes the focus.
  function reachable() {
    for (const card of document.querySelectorAll(".card")) {
      if (card.scrollWidth > card.clientWidth && !card.querySelector("a, button, input, summary, [tabindex]")) card.tabIndex = 0;
    }
  }
  addEventListener("resize", reachable);
  document.addEventListener("htmx:after:swap", reachable);

  // The filter of the modules, applied while typing and kept in the address.
  function filter() {
    const form = document.querySelector("[data-filter=modules]");
    if (!form) return;
    const query = form.q.value.trim().toLowerCase();
    const state = form.state.value;
    let shown = 0;
    for (const row of document.querySelectorAll("#modules tbody tr")) {
      row.hidden = !row.dataset.name.toLowerCase().includes(query) || (state !== "" && row.dataset.state !== state);
      shown += row.hidden ? 0 : 1;
    }
    $("none-match").hidden = shown > 0;
    keep({ q: query, state });
    for (const link of document.querySelectorAll("a[data-sort]")) {
      const parts = new URLSearchParams(location.search);
      parts.set("sort", link.dataset.sort);
      link.href = `?${parts}`;
    }
  }
  function keep(values) {
    const parts = new URLSearchParams(location.search);
    for (const [name, value] of Object.entries(values)) { if (value) parts.set(name, value); else parts.delete(name); }
    const search = parts.size ? `?${parts}` : "";
    if (location.search !== search) history.replaceState(null, "", search || location.pathname);
  }
  document.addEventListener("input", (event) => { if (event.target.closest("[data-filter=modules]")) filter(); });
  document.addEventListener("submit", (event) => {
    if (event.target.matches("[data-filter=modules]")) event.preventDefault();
  });

  // Forms. A form is sent once: a double click would create a second token, and show the error instead of the first one.
  // If a form is refused, its page stays and shows the error. The button of a slow form shows that the form was sent.
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (form.method !== "post") return;
    if (form.dataset.sent) { event.preventDefault(); return; }
    if (!form.matches("[data-stay]")) {
      const button = event.submitter;
      const text = button?.textContent;
      form.dataset.sent = "yes";
      if (form.dataset.wait && button) setTimeout(() => { button.disabled = true; button.textContent = form.dataset.wait; }, 300);
      // After "Back", the page is shown as it was left.
      addEventListener("pageshow", () => {
        delete form.dataset.sent;
        if (form.dataset.wait && button) { button.disabled = false; button.textContent = text; }
      }, { once: true });
      return;
    }
    event.preventDefault();
    const body = new URLSearchParams(new FormData(form, event.submitter));
    const buttons = form.querySelectorAll("button");
    for (const button of buttons) button.disabled = true;
    try {
      const answer = await fetch(form.action, { method: "POST", body });
      if (answer.ok) {
        if (answer.redirected && answer.url !== location.href) location.href = answer.url; else location.reload();
        return;
      }
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const problem = page.querySelector(".problem");
      const title = document.createElement("h2");
      title.textContent = page.querySelector("h1")?.textContent ?? `The answer was ${answer.status}`;
      showProblem(title, ...(problem ? problem.childNodes : []));
    } catch (error) {
      const text = document.createElement("p");
      text.textContent = `The service did not answer: ${error.message}. The outcome of the action is unknown; check the runs before you repeat it.`;
      showProblem(text);
    }
    for (const button of buttons) button.disabled = false;
    // A button loses the focus when it is disabled.
    event.submitter?.focus({ preventScroll: true });
  });
  function showProblem(...nodes) {
    const place = $("problem");
    place.className = "notice bad";
    place.replaceChildren(...nodes.map((node) => document.importNode(node, true)));
    place.hidden = false;
    place.scrollIntoView({ block: "nearest" });
  }

  // Copying.
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("button.copy");
    if (!button) return;
    event.preventDefault();
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
    } catch {
      // Without a secure context the clipboard is not available: the text is selected instead.
      const area = document.createElement("textarea");
      area.value = button.dataset.copy;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    const name = button.getAttribute("aria-label");
    if (button.classList.contains("done")) return;
    button.classList.add("done");
    button.textContent = "copied";
    button.setAttribute("aria-label", "Copied");
    setTimeout(() => {
      button.classList.remove("done");
      button.textContent = "copy";
      button.setAttribute("aria-label", name);
    }, 1500);
  });

  // Copying a new token. Browsers allow it over TLS and on this machine only.
  for (const button of document.querySelectorAll("[data-copy]:not(.copy)")) {
    const field = $(button.dataset.copy);
    button.hidden = !navigator.clipboard;
    field.addEventListener("focus", () => field.select());
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(field.value);
      button.textContent = "Copied";
    });
  }

  // Keys. The second of two submits follows soon.
  const SECOND_KEY_MS = 1500;
  let before = "";
  let pressed = 0;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea") || $("keys").open) return;
    const pages = { m: "", r: "/runs", d: "/database" };
    const isSecond = before === "g" && now() - pressed < SECOND_KEY_MS;
    pressed = now();
    if (isSecond && event.key in pages) location.href = home + pages[event.key];
    else if (event.key === "/") { event.preventDefault(); if ($("search")) $("search").focus(); else location.href = `${home}#search`; }
    else if (event.key === "?") $("keys").showModal();
    else if (event.key === "p") pause(!paused);
    before = event.key;
  });
  $("help").addEventListener("click", () => $("keys").showModal());
  if (location.hash === "#search") $("search")?.focus();

  window.pgdbm = { keep, isPaused: () => reason() !== "" };
  filter();
  show();
  reachable();
})();
