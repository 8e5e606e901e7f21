// A JupyterLab extension without a build: a launcher card per notebook and dashboard; the start notebook and
// the dashboards run when they are opened. JupyterLab loads it as a container of module federation: `init` hands over what JupyterLab
// shares, `get` returns the module with the plugin. `cards.json` beside this file is written by `crm lab`.
(() => {
  const here = document.currentScript.src;
  let shared = null;

  const CHART =
    '<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 22 22"><g class="jp-icon-brand0" fill="#0072b2">' +
    '<path d="M3 12h4v7H3zM9 7h4v12H9zM15 3h4v16h-4z"/></g></svg>';

  async function module(name) {
    const versions = Object.values(shared[name] ?? {});
    if (!versions.length) throw new Error(`JupyterLab shares no ${name}`);
    return (await versions[0].get())();
  }

  async function cards() {
    const answer = await fetch(new URL("cards.json", here), { cache: "no-store" });
    if (!answer.ok) throw new Error(`cards.json: ${answer.status}`);
    return answer.json();
  }

  function launch(app, launcher, icons, { cards }) {
    const chart = new icons.LabIcon({ name: "crmlib-lab:chart", svgstr: CHART });
    app.commands.addCommand("crm:open", {
      label: ({ title }) => title ?? "Open a notebook of the project",
      caption: ({ question }) => question ?? "",
      icon: ({ kind }) => (kind === "dashboard" ? chart : icons.notebookIcon),
      execute: ({ path }) => app.commands.execute("docmanager:open", { path }),
    });
    cards.forEach((card, rank) => launcher.add({ command: "crm:open", category: card.category, rank, args: card }));
  }

  // Outputs are not kept with the notebooks, so the start page and the dashboards would be empty without this.
  function runWhenOpened(tracker, { NotebookActions }, { runs }) {
    tracker.widgetAdded.connect(async (_, panel) => {
      if (!runs.includes(panel.context.path)) return;
      await panel.context.ready;
      await panel.revealed;
      await panel.sessionContext.ready;
      if (panel.sessionContext.session?.kernel) await NotebookActions.runAll(panel.content, panel.sessionContext);
    });
  }

  async function get() {
    const [launchers, notebooks, icons] = await Promise.all(
      ["@jupyterlab/launcher", "@jupyterlab/notebook", "@jupyterlab/ui-components"].map(module),
    );
    const plugin = {
      id: "crmlib-lab:cards",
      description: "Launcher cards of the project's notebooks and dashboards.",
      autoStart: true,
      requires: [launchers.ILauncher, notebooks.INotebookTracker],
      activate: async (app, launcher, tracker) => {
        const known = await cards();
        runWhenOpened(tracker, notebooks, known);
        launch(app, launcher, icons, known);
      },
    };
    return () => ({ __esModule: true, default: plugin });
  }

  (window._JUPYTERLAB ??= {})["crmlib-lab"] = {
    init: (scope) => {
      shared = scope;
    },
    get,
  };
})();
