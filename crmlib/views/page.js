// What belongs to a page as a whole: it tells the kernel that a person is looking, saves files that the kernel
// sends, and warns when the kernel no longer answers, since nothing on the page would change any more then.

const PATIENCE = 8_000;

function save(name, type, buffers) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(buffers, { type }));
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function render({ model, el }) {
  el.classList.add("crm-page");
  el.setAttribute("role", "alert");
  let late = null;

  // A dashboard begins in the language that its page began in: asked for, chosen before, or the browser's.
  function asked() {
    const query = new URLSearchParams(location.search);
    if (document.body.dataset.voila && !query.has("language")) query.set("language", document.documentElement.lang);
    return `?${query}`;
  }

  function ask(kind) {
    clearTimeout(late);
    late = setTimeout(() => (el.textContent = model.get("lost")), PATIENCE);
    model.send({ kind, query: asked() });
  }

  function receive(message, buffers) {
    clearTimeout(late);
    late = null;
    el.textContent = "";
    if (message.kind === "save") save(message.name, message.type, buffers);
  }

  function acted() {
    if (!late) ask("here");
  }

  // Every table gets buttons that ask the kernel for it; the kernel decides, and takes it from its own copy.
  function offer(table) {
    const labels = model.get("take") ?? {};
    const before = table.parentElement?.querySelector(":scope > .crm-takes");
    const words = JSON.stringify(labels);
    if (before?.dataset.labels === words) return;
    before?.remove();
    if (!Object.keys(labels).length) return;
    const group = document.createElement("div");
    group.className = "crm-takes";
    group.dataset.labels = words;
    for (const [format, label] of Object.entries(labels)) {
      const button = Object.assign(document.createElement("button"), { type: "button", className: "crm-take" });
      button.textContent = label.short;
      button.title = label.long;
      button.setAttribute("aria-label", label.long);
      button.addEventListener("click", () => model.send({ kind: "take", table: table.id, format }));
      group.append(button);
    }
    table.after(group);
  }

  let offering = 0;
  function offerAll() {
    offering ||= requestAnimationFrame(() => {
      offering = 0;
      document.querySelectorAll(".crm-panel table.crm-table[id]").forEach(offer);
      document.querySelectorAll(".crm-panel").forEach(window.crmLabels.name);
    });
  }
  const seen = new MutationObserver(offerAll);
  seen.observe(document.body, { childList: true, subtree: true });

  function retitle() {
    if (!document.body.dataset.voila) return;
    document.title = model.get("title") || document.title;
    const who = document.querySelector(".crm-top .crm-who");
    if (who) who.textContent = model.get("who");
  }

  function speak() {
    if (!document.body.dataset.voila) return;
    document.documentElement.lang = model.get("language");
    document.cookie = `crm_language=${model.get("language")}; path=/; max-age=31536000; samesite=lax`;
  }

  model.on("msg:custom", receive);
  model.on("change:title change:who", retitle);
  model.on("change:language", speak);
  model.on("change:take", offerAll);
  document.addEventListener("change", acted);
  document.addEventListener("pointerup", acted);
  retitle();
  ask("opened");
  return () => {
    clearTimeout(late);
    model.off("msg:custom", receive);
    model.off("change:title change:who", retitle);
    model.off("change:language", speak);
    model.off("change:take", offerAll);
    seen.disconnect();
    document.removeEventListener("change", acted);
    document.removeEventListener("pointerup", acted);
  };
}

export default { render };
