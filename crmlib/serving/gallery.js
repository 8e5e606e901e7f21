// The search on the front door: cards go and come as one types; "/" begins, Enter opens the first, Escape shows all.
document.addEventListener("DOMContentLoaded", () => {
  const find = document.getElementById("crm-find");
  const nothing = document.querySelector(".crm-nothing");
  const groups = [...document.querySelectorAll(".crm-group")];
  const doors = [...document.querySelectorAll(".crm-door")];
  const plain = (text) => text.toLowerCase().normalize("NFKD").replace(/\p{M}/gu, "");
  const words = new Map(doors.map((door) => [door, plain(`${door.closest(".crm-group").querySelector("h2").textContent} ${door.textContent}`)]));

  function filter() {
    const asked = plain(find.value).split(/\s+/).filter(Boolean);
    for (const door of doors) door.hidden = !asked.every((word) => words.get(door).includes(word));
    for (const group of groups) group.hidden = !group.querySelector(".crm-door:not([hidden])");
    if (doors.length) nothing.hidden = doors.some((door) => !door.hidden);
  }

  const first = () => document.querySelector(".crm-door:not([hidden]) a");

  find.form.addEventListener("submit", (event) => event.preventDefault());
  find.addEventListener("input", filter);
  find.addEventListener("keydown", (event) => {
    if (event.key === "Enter") first()?.click();
    else if (event.key === "ArrowDown") first()?.focus();
    else if (event.key === "Escape") find.value = "";
    else return;
    event.preventDefault();
    filter();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target === find || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    find.focus();
  });
  filter(); // a browser that goes back keeps what was typed
});
