// Shows a report in a frame of its own origin: it can draw its charts, and reach neither this page nor its cookies.
function render({ model, el }) {
  el.classList.add("crm-report");
  let frame = null;

  function save(name, buffers) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(buffers, { type: "text/html" }));
    link.download = name;
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }

  async function receive(message, buffers) {
    if (message.kind === "save") return save(message.name, buffers);
    frame?.remove();
    frame = null;
    if (message.kind !== "show") return;
    frame = document.createElement("iframe");
    frame.setAttribute("sandbox", "allow-scripts");
    frame.title = message.title;
    frame.srcdoc = await new Blob(buffers).text();
    el.append(frame);
    frame.scrollIntoView({ block: "start", behavior: "smooth" });
  }

  model.on("msg:custom", receive);
  return () => model.off("msg:custom", receive);
}

export default { render };
