// Light or dark, for every page: what the person chose on this machine, else what the system prefers; in JupyterLab
// what JupyterLab shows. Charts come from the kernel in light colours; `figure` turns them for the dark.
window.crmTheme ??= (() => {
  const KEY = "crm-theme";
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");

  function chosen() {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null; // storage is forbidden: the system decides
    }
  }

  function wanted() {
    const body = document.body?.dataset ?? {};
    if (body.jpThemeLight !== undefined && !body.voila) return body.jpThemeLight === "false" ? "dark" : "light";
    return chosen() ?? (system.matches ? "dark" : "light");
  }

  function apply() {
    const theme = wanted();
    if (root.dataset.theme === theme) return;
    root.dataset.theme = theme;
    document.dispatchEvent(new CustomEvent("crm:theme"));
  }

  function toggle() {
    try {
      localStorage.setItem(KEY, root.dataset.theme === "dark" ? "light" : "dark");
    } catch {
      return;
    }
    apply();
  }

  function watch() {
    apply();
    new MutationObserver(apply).observe(document.body, { attributeFilter: ["data-jp-theme-light"] });
  }

  // ---------------------------------------------------------------- colours

  function parse(text) {
    const hex = /^#([0-9a-f]{3}|[0-9a-f]{6})$/i.exec(text);
    if (hex) {
      const long = hex[1].length === 3 ? [...hex[1]].map((one) => one + one).join("") : hex[1];
      return [0, 2, 4].map((at) => parseInt(long.slice(at, at + 2), 16)).concat(1);
    }
    const parts = /^rgba?\(([^)]*)\)$/i.exec(text)?.[1].split(",").map(Number);
    if (parts && parts.length >= 3 && !parts.some(Number.isNaN)) return [...parts.slice(0, 3), parts[3] ?? 1];
    return { white: [255, 255, 255, 1], black: [0, 0, 0, 1] }[text] ?? null;
  }

  const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const gamma = (value) => (value <= 0.0031308 ? 12.92 * value : 1.055 * value ** (1 / 2.4) - 0.055);

  // Oklab (Ottosson 2020): equal steps of lightness look equal, so hues stay what they were when it changes.
  function toLab(red, green, blue) {
    const [r, g, b] = [red, green, blue].map((value) => linear(value / 255));
    const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
    const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
    const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
    return [
      0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
      1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
      0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
    ];
  }

  function fromLab(light, a, b) {
    const l = (light + 0.3963377774 * a + 0.2158037573 * b) ** 3;
    const m = (light - 0.1055613458 * a - 0.0638541728 * b) ** 3;
    const s = (light - 0.0894841775 * a - 1.291485548 * b) ** 3;
    return [
      4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
      -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
      -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
    ];
  }

  function written(light, a, b, alpha) {
    let found = fromLab(light, a, b);
    for (let less = 0.9; less > 0 && found.some((value) => value < -0.001 || value > 1.001); less -= 0.1) {
      found = fromLab(light, a * less, b * less); // as much colour as a screen can show
    }
    const bytes = found.map((value) => Math.round(255 * gamma(Math.min(1, Math.max(0, value)))));
    return alpha === 1 ? `rgb(${bytes.join(",")})` : `rgba(${bytes.join(",")},${alpha})`;
  }

  const between = (value, low, high) => Math.min(high, Math.max(low, value));

  // Greys and scales change sides (paper is dark, ink is light); a series keeps its hue and becomes lighter.
  function dark(text, scale) {
    const found = parse(text);
    if (!found || found[3] === 0) return text;
    const [light, a, b] = toLab(...found);
    const turned = between(0.93 - (light - 0.25) * 0.92, 0.24, 0.95);
    if (Math.hypot(a, b) < 0.045) return written(turned, 0.6 * a, 0.6 * b, found[3]);
    // The far end of a scale stays so dark that the white numbers in its cells have a contrast of 4.5.
    return written(scale ? 0.24 + 0.62 * (turned - 0.24) : between(0.7 + 0.64 * (light - 0.55), 0.62, 0.9), a, b, found[3]);
  }

  function recolored(value, name, scale) {
    if (typeof value === "string") return /color/i.test(name) ? dark(value, scale) : value;
    if (Array.isArray(value)) {
      return /color/i.test(name) ? value.map((one) => recolored(one, name, scale)) : value.map((one) => recolored(one, ""));
    }
    if (!value || typeof value !== "object") return value;
    const entries = Object.entries(value).map(([key, one]) => {
      const inside = /color/i.test(key) ? key : ""; // "data" of points is no colour
      return [key, recolored(one, inside, /colorscale/i.test(key))];
    });
    return Object.fromEntries(entries);
  }

  // Asked once a theme: between two charts it would make the browser lay out the page it is about to change again.
  let asked = null;

  function hoverColors() {
    if (asked?.theme === root.dataset.theme) return asked.colors;
    const style = getComputedStyle(root);
    const variable = (name) => style.getPropertyValue(`--crm-${name}`).trim() || undefined;
    const colors = { bgcolor: variable("card"), bordercolor: variable("line-strong"), font: { color: variable("ink") } };
    if (colors.bgcolor) asked = { theme: root.dataset.theme, colors }; // else the style sheet has not come yet
    return colors;
  }

  function figure({ data, layout }) {
    const turned = root.dataset.theme === "dark" ? { data: recolored(data), layout: recolored(layout) } : { data, layout };
    const hoverlabel = { ...hoverColors(), ...turned.layout.hoverlabel };
    return { data: turned.data, layout: { ...turned.layout, hoverlabel } };
  }

  apply();
  system.addEventListener("change", apply);
  if (document.body) watch();
  else document.addEventListener("DOMContentLoaded", watch);
  return { toggle, figure, dark, get now() { return root.dataset.theme; } };
})();
