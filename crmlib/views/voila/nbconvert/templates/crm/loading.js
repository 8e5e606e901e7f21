// What one sees before the dashboard is there: what happens, how far it is, and what to do when it does not come.
// The language is the one asked for, chosen before, or the browser's; the page's words follow `lang`.
window.crmLoading = (() => {
  const root = document.documentElement;
  const SLOW = 15_000;
  const STUCK = 60_000;
  let widgets = false; // whether the page is to have any

  function language() {
    const asked = new URLSearchParams(location.search).get("language");
    const chosen = /(?:^|; )crm_language=(\w+)/.exec(document.cookie)?.[1];
    const found = [asked, chosen, ...navigator.languages].map((one) => (one ?? "").slice(0, 2).toLowerCase());
    return found.find((one) => ["en", "ru"].includes(one)) ?? "en";
  }

  root.lang = language();

  function say(step) {
    for (const line of document.querySelectorAll("#crm-loading p")) line.hidden = line.dataset.step !== step;
  }

  function fill(share) {
    document.querySelector("#crm-loading .crm-progress span")?.style.setProperty("width", `${100 * share}%`);
  }

  function there() {
    const cells = document.getElementById("rendered_cells");
    if (!cells || cells.style.display === "none") return false;
    if (document.querySelector(".crm-panel h1, .crm-failed")) return true;
    // A page of one's own may have no panel: any of its widgets is enough, before which only the words of their code
    // are there; without widgets, something on the page once the scripts are there.
    if (widgets) return Boolean(cells.querySelector(".jupyter-widgets"));
    return window.crmDrawn === true && [...cells.querySelectorAll(".jp-OutputArea-output")].some((one) => one.offsetHeight > 20);
  }

  function begin() {
    fill(0.12);
    window.voila_process = (cell, cells) => fill(0.12 + (0.48 * cell) / cells);
    const timers = [setTimeout(() => say("slow"), SLOW), setTimeout(() => say("stuck"), STUCK)];
    const watching = new MutationObserver(finish);

    function finish() {
      if (!there()) return;
      watching.disconnect();
      timers.forEach(clearTimeout);
      document.body.classList.add("crm-ready");
      document.getElementById("crm-loading")?.remove();
    }

    watching.observe(document.body, { childList: true, subtree: true, attributes: true, attributeFilter: ["style"] });
    window.addEventListener("load", () => setTimeout(() => ((window.crmDrawn = true), finish()), 3_000));
  }

  function received() {
    const outputs = document.querySelectorAll('script[type="application/vnd.voila.cell-output+json"]');
    widgets = [...outputs].some((one) => one.textContent.includes("jupyter.widget-view"));
    say("draw");
    fill(0.8);
  }

  return { begin, received };
})();
