// Text from alerts: made visible, never made active.

export function element(name, className = "", text = "") {
  const e = document.createElement(name);
  if (className) e.className = className;
  if (text !== "") e.textContent = text;
  return e;
}

// Control and bidirectional characters can make text read as something else, so
// they are shown by their number.
const hidden = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/gu;

export function plain(value) {
  const text = String(value);
  const out = document.createDocumentFragment();
  let at = 0;
  for (const match of text.matchAll(hidden)) {
    const code = match[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    out.append(text.slice(at, match.index), element("span", "ctl", `U+${code}`));
    at = match.index + match[0].length;
  }
  out.append(text.slice(at));
  return out;
}
