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

  function ask(kind) {
    clearTimeout(late);
    late = setTimeout(() => (el.textContent = model.get("lost")), PATIENCE);
    model.send({ kind, query: location.search });
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

  function retitle() {
    if (document.body.dataset.voila && model.get("title")) document.title = model.get("title");
    if (document.body.dataset.voila) document.documentElement.lang = model.get("language");
  }

  model.on("msg:custom", receive);
  model.on("change:title change:language", retitle);
  document.addEventListener("change", acted);
  document.addEventListener("pointerup", acted);
  retitle();
  ask("opened");
  return () => {
    clearTimeout(late);
    model.off("msg:custom", receive);
    model.off("change:title change:language", retitle);
    document.removeEventListener("change", acted);
    document.removeEventListener("pointerup", acted);
  };
}

export default { render };
