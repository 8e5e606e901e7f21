// One chart: redraws with Plotly.react whenever the specification changes, and says so when it cannot.
// plotly.js is loaded once a page: by the page itself (dashboards), else from the kernel (JupyterLab).

function fromKernel(model) {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error("the kernel sent no plotly.js")), 60_000);
    model.on("msg:custom", function receive(message, buffers) {
      if (message.kind !== "plotly.js") return;
      model.off("msg:custom", receive);
      clearTimeout(late);
      const address = URL.createObjectURL(new Blob(buffers, { type: "text/javascript" }));
      const script = document.createElement("script");
      script.src = address;
      script.onload = resolve;
      script.onerror = () => reject(new Error("plotly.js could not be started"));
      document.head.append(script);
    });
    model.send({ kind: "plotly.js" });
  });
}

function fromPage() {
  const script = document.getElementById("crm-plotly");
  return new Promise((resolve, reject) => {
    if (!script || script.dataset.failed) reject(new Error("the page names no plotly.js"));
    script?.addEventListener("load", resolve);
    script?.addEventListener("error", reject);
  });
}

async function load(model) {
  if (!window.Plotly) await fromPage().catch(() => fromKernel(model));
  if (!window.Plotly) throw new Error("plotly.js did not start");
  return window.Plotly;
}

function plotly(model) {
  window.crmPlotly ??= load(model).catch((error) => {
    window.crmPlotly = undefined; // the next chart or redraw tries again
    throw error;
  });
  return window.crmPlotly;
}

function render({ model, el }) {
  const drawing = document.createElement("div");
  const trouble = document.createElement("div");
  trouble.className = "crm-chart-trouble";
  trouble.setAttribute("role", "alert");
  el.classList.add("crm-chart");
  const foot = document.createElement("div");
  foot.className = "crm-chart-foot";
  el.append(drawing, trouble, foot);
  let drawn = null; // the revision on the screen, and its theme
  let theme = null;
  let running = null;

  function listen() {
    drawing.removeAllListeners("plotly_click");
    drawing.on("plotly_click", ({ points }) => {
      const { x, y, customdata } = points[0];
      model.send({ kind: "clicked", x, y, customdata });
    });
  }

  async function draw() {
    // However fast changes come, only the newest one is drawn after the one in progress.
    while (drawn !== model.get("revision") || theme !== window.crmTheme?.now) {
      const wanted = model.get("revision");
      theme = window.crmTheme?.now;
      try {
        const figure = JSON.parse(model.get("spec"));
        const { data, layout } = window.crmTheme?.figure(figure) ?? figure;
        const library = await plotly(model);
        drawing.style.height = `${layout.height ?? 320}px`;
        const own = { ...layout, autosize: true, width: undefined };
        await library.react(drawing, data, own, { displayModeBar: false, responsive: true });
        if (model.get("clickable")) listen();
        describe(figure);
        trouble.textContent = "";
        el.dataset.state = "drawn";
      } catch (error) {
        // An old picture under new numbers would mislead: take it away and say why.
        drawing.replaceChildren();
        drawing.style.height = "0";
        trouble.textContent = `${model.get("trouble")} (${error.message})`;
        el.dataset.state = "failed";
        model.send({ kind: "failed", message: String(error) });
      }
      drawn = wanted;
      el.dataset.revision = wanted;
    }
  }

  // What a person who does not see the chart is told of it: its heading, axes and series; its numbers can be taken away.
  function describe({ data, layout }) {
    const heading = el.closest(".crm-card")?.querySelector("h2")?.textContent;
    const axes = [layout.xaxis?.title?.text, layout.yaxis?.title?.text];
    const series = data.map((one) => one.showlegend !== false && one.name);
    const said = layout.annotations?.map((one) => one.text) ?? [];
    const words = [...new Set([heading, ...axes, ...series, ...said])].filter(Boolean).join("; ");
    drawing.setAttribute("role", "img");
    drawing.setAttribute("aria-label", words.replace(/<[^>]*>/g, " ").slice(0, 500) || "–");
  }

  function redraw() {
    if (running) return;
    el.dataset.state = "drawing";
    running = draw().finally(() => {
      running = null;
    });
  }

  function button(format, label) {
    const made = document.createElement("button");
    made.type = "button";
    made.className = "crm-take";
    made.textContent = label.short;
    made.title = label.long;
    made.setAttribute("aria-label", label.long);
    made.addEventListener("click", () => model.send({ kind: "take", format }));
    return made;
  }

  // Where the figure comes from and how sure it is, folded away, and the buttons that take it away.
  function reword() {
    const { title, lines = [], take = {} } = model.get("foot") ?? {};
    const open = foot.querySelector("details")?.open ?? false;
    foot.replaceChildren();
    if (lines.length) {
      const details = document.createElement("details");
      const summary = document.createElement("summary");
      summary.textContent = title;
      details.append(summary);
      for (const line of lines) details.append(Object.assign(document.createElement("p"), { textContent: line }));
      details.open = open;
      foot.append(details);
    }
    const buttons = Object.entries(take).map(([format, label]) => button(format, label));
    if (buttons.length) {
      const group = document.createElement("span");
      group.className = "crm-takes";
      group.append(...buttons);
      foot.append(group);
    }
  }

  function receive(message) {
    if (message.kind !== "picture" || !drawing.data) return;
    const size = { width: drawing.offsetWidth, height: drawing.offsetHeight, scale: 2 };
    // On white in whatever theme: the picture goes into letters and slides.
    const { data, layout } = JSON.parse(model.get("spec"));
    const figure = { data, layout: { ...layout, paper_bgcolor: "#ffffff" } };
    window.Plotly.downloadImage(figure, { format: "png", filename: message.name, ...size });
  }

  const sized = new ResizeObserver(() => {
    if (drawing.data && drawing.offsetWidth) window.Plotly.Plots.resize(drawing);
  });
  sized.observe(el);
  model.on("change:revision", redraw);
  model.on("change:foot", reword);
  model.on("msg:custom", receive);
  document.addEventListener("crm:theme", redraw);
  reword();
  redraw();
  return () => {
    sized.disconnect();
    model.off("change:revision", redraw);
    model.off("change:foot", reword);
    model.off("msg:custom", receive);
    document.removeEventListener("crm:theme", redraw);
    window.Plotly?.purge(drawing);
  };
}

export default { render };
