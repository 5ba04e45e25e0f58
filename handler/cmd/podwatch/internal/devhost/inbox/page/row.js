// Rows as a query in Log Analytics shows them: a line each, and all columns
// below it on demand.
import { element, plain } from "./text.js";

function time(text) {
  const date = new Date(text);
  return Number.isNaN(date.valueOf()) ? text : date.toISOString().slice(0, 19).replace("T", " ");
}

function withSub(main, sub) {
  const out = document.createDocumentFragment();
  out.append(plain(main || "–"));
  if (sub) {
    const small = element("span", "sub");
    small.append(plain(sub));
    out.append(small);
  }
  return out;
}

function chip(kind, text) {
  const e = element("span", "chip");
  if (/^[a-z]+$/.test(kind)) e.classList.add(kind);
  e.append(plain(text));
  return e;
}

const text = (row, name) => (row[name] === undefined || row[name] === null ? "" : String(row[name]));

export const columns = [
  { title: "EventTime (UTC)", of: (row) => plain(time(text(row, "EventTime") || text(row, "TimeGenerated"))) },
  { title: "Severity", of: (row) => {
    if (row.Suppressed) return chip("suppressed", "suppressed");
    if (row.Routine) return chip("routine", "routine");
    return chip(text(row, "Severity"), text(row, "Severity") || "–");
  } },
  { title: "RuleName", of: (row) => withSub(text(row, "RuleName"), text(row, "SuppressedBy") && `suppressed by ${text(row, "SuppressedBy")}`) },
  { title: "CallerName", of: (row) => withSub(text(row, "CallerName") || text(row, "CallerId"), text(row, "CallerKind")) },
  { title: "CallerIp", whole: true, of: (row) => plain(text(row, "CallerIp")) },
  { title: "ClusterName", of: (row) => withSub(text(row, "ClusterName"), [text(row, "ClusterKind"), text(row, "ResourceGroup")].filter(Boolean).join(" · ")) },
  { title: "Namespace", of: (row) => plain(text(row, "Namespace")) },
  { title: "Pod", of: (row) => withSub(text(row, "Pod"), text(row, "DeletionKind")) },
];

function value(v) {
  const dd = element("dd");
  if (v === null || v === "" || (Array.isArray(v) && v.length === 0)) {
    dd.className = "none";
    dd.append("–");
  } else if (typeof v === "object") {
    const shown = element("pre");
    shown.append(plain(JSON.stringify(v, null, 2)));
    dd.append(shown);
  } else {
    dd.append(plain(v));
  }
  return dd;
}

function fields(entry) {
  const all = document.createDocumentFragment();
  for (const warning of entry.warnings ?? []) all.append(element("p", "warning", warning));
  const list = element("dl", "fields");
  for (const [name, v] of Object.entries(entry.data)) {
    const dt = element("dt");
    dt.append(plain(name));
    list.append(dt, value(v));
  }
  all.append(list);
  return all;
}

// renderRow returns a body of the table with the line and, hidden until it is opened,
// what is below it.
export function renderRow(entry) {
  const row = entry.data;
  const line = element("tr", row.Suppressed || row.Routine ? "row off" : "row");
  const button = element("button", "", "›");
  button.setAttribute("aria-label", "All columns");
  button.setAttribute("aria-expanded", "false");
  const open = element("td", "open");
  open.append(button);
  line.append(open, ...columns.map((column) => {
    const cell = element("td", column.whole ? "whole" : "");
    cell.dataset.name = column.title;
    cell.append(column.of(row));
    return cell;
  }));

  const below = element("tr");
  below.hidden = true;
  const detail = element("td", "detail");
  detail.colSpan = columns.length + 1;
  below.append(detail);
  line.addEventListener("click", () => {
    if (getSelection().toString()) return; // somebody is copying
    if (!detail.hasChildNodes()) detail.append(fields(entry));
    below.hidden = !below.hidden;
    button.setAttribute("aria-expanded", String(!below.hidden));
  });
  const body = element("tbody");
  body.append(line, below);
  return body;
}
