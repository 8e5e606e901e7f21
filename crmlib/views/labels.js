// Names for controls, as people hear them who do not see them: the words that stand beside or above a control.
// ipywidgets ties a name to a control only when both are one widget.

window.crmLabels ??= (() => {
  const CONTROLS = "select, input, textarea, [role=slider]";
  const watched = new WeakSet();

  const words = (element) => element?.textContent.replace(/\s+/g, " ").trim() ?? "";
  const visible = (element) => element && element.style.display !== "none"; // ipywidgets hides a label so

  // The label within the widget, else the one before it in its pair, else what it says when one points at it.
  function said(widget) {
    const own = widget.querySelector("label");
    if (visible(own) && words(own)) return words(own);
    const before = widget.previousElementSibling;
    if (before?.matches(".widget-label, .widget-html") && words(before)) return words(before);
    const hint = widget.querySelector("[title]:not([title=''])")?.title || widget.title;
    return hint || widget.querySelector("[placeholder]")?.placeholder || "";
  }

  function set(element, name, value) {
    if (value && element.getAttribute(name) !== value) element.setAttribute(name, value);
  }

  function pressed(group) {
    for (const button of group.querySelectorAll("button")) {
      set(button, "aria-pressed", String(button.classList.contains("mod-active")));
    }
  }

  function name(panel) {
    for (const control of panel.querySelectorAll(CONTROLS)) {
      const widget = control.closest(".jupyter-widgets");
      if (widget && control.type !== "checkbox" && control.type !== "radio") set(control, "aria-label", said(widget));
    }
    for (const group of panel.querySelectorAll(".widget-toggle-buttons")) {
      set(group, "role", "group");
      set(group, "aria-label", said(group));
      pressed(group);
      if (watched.has(group)) continue;
      watched.add(group);
      new MutationObserver(() => pressed(group)).observe(group, { subtree: true, attributeFilter: ["class"] });
    }
  }

  return { name };
})();
