// Cards as Teams draws them: Microsoft's renderer with Teams' measures and
// colours, and the part of Markdown that Teams reads in text blocks; on an iPhone
// also in text runs, with addresses as links. That part is on purpose: a value
// that could become a link in Teams becomes one here.
import { element } from "./text.js";

const palettes = {
  light: {
    background: { default: "#ffffff", emphasis: "#f5f5f5", accent: "#e8ebfa", good: "#e7f2da", attention: "#fcf4f6", warning: "#fbf6d9" },
    default: ["#242424", "#616161"], dark: ["#242424", "#616161"], light: ["#ffffff", "#e0e0e0"],
    accent: ["#4f52b2", "#5b5fc7"], good: ["#237b4b", "#237b4b"], warning: ["#835c00", "#835c00"], attention: ["#c4314b", "#c4314b"],
    line: "#e0e0e0",
  },
  dark: {
    background: { default: "#292929", emphasis: "#333333", accent: "#2f2f4a", good: "#22341c", attention: "#3e1f25", warning: "#41360f" },
    default: ["#ffffff", "#adadad"], dark: ["#ffffff", "#adadad"], light: ["#ffffff", "#d6d6d6"],
    accent: ["#aab1fa", "#7f85f5"], good: ["#92c353", "#92c353"], warning: ["#f8d22a", "#f8d22a"], attention: ["#f9859a", "#f9859a"],
    line: "#454545",
  },
};

function hostConfig(theme) {
  const p = palettes[theme];
  const colours = {};
  for (const name of ["default", "dark", "light", "accent", "good", "warning", "attention"]) {
    colours[name] = { default: p[name][0], subtle: p[name][1] };
  }
  const styles = {};
  for (const [name, backgroundColor] of Object.entries(p.background)) {
    styles[name] = { backgroundColor, foregroundColors: colours };
  }
  const font = (fontFamily) => ({
    fontFamily,
    fontSizes: { small: 12, default: 14, medium: 16, large: 18, extraLarge: 24 },
    fontWeights: { lighter: 400, default: 400, bolder: 600 },
  });
  return {
    fontTypes: {
      default: font("Segoe UI, system-ui, Liberation Sans, sans-serif"),
      monospace: font("Cascadia Mono, Consolas, DejaVu Sans Mono, monospace"),
    },
    lineHeights: { small: 16, default: 20, medium: 22, large: 24, extraLarge: 32 },
    spacing: { small: 4, default: 8, medium: 12, large: 20, extraLarge: 28, padding: 16 },
    separator: { lineThickness: 1, lineColor: p.line },
    imageSizes: { small: 32, medium: 52, large: 100 },
    containerStyles: styles,
    factSet: { title: { weight: "bolder", wrap: true, maxWidth: 140 }, value: { wrap: true }, spacing: 12 },
    actions: {
      maxActions: 6, actionsOrientation: "horizontal", actionAlignment: "left", buttonSpacing: 8, spacing: "default",
      preExpandSingleShowCardAction: false, showCard: { actionMode: "inline", inlineTopMargin: 12, style: "emphasis" },
    },
    supportsInteractivity: true,
  };
}

const inert = document.implementation.createHTMLDocument("");
const inline = /\\([\\`*_{}[\]()#+\-.!~])|\*\*(\S(?:.*?\S)?)\*\*|__(\S(?:.*?\S)?)__|\*(\S(?:.*?\S)?)\*|\b_(\S(?:.*?\S)?)_\b|\[([^\]]+)\]\(\s*([^)\s]+)[^)]*\)|(https?:\/\/[^\s<>]+|\bwww\.[^\s<>]+)/is;

function link(target, text = "") {
  const a = inert.createElement("a");
  if (/^(https?|mailto):/i.test(target)) {
    a.setAttribute("href", target);
    a.setAttribute("rel", "noopener noreferrer");
  }
  a.append(text);
  return a;
}

function spans(parent, text) {
  for (let m; (m = inline.exec(text)); text = text.slice(m.index + m[0].length)) {
    parent.append(text.slice(0, m.index));
    const [, escaped, bold, bold2, italic, italic2, label, target, bare] = m;
    if (escaped !== undefined) {
      parent.append(escaped);
    } else if (bare !== undefined) {
      parent.append(link(bare.replace(/^www/i, "https://www"), bare));
    } else if (label !== undefined) {
      const a = link(target);
      spans(a, label);
      parent.append(a);
    } else {
      const e = inert.createElement(bold ?? bold2 ? "strong" : "em");
      spans(e, bold ?? bold2 ?? italic ?? italic2);
      parent.append(e);
    }
  }
  parent.append(text);
}

// markdown builds a tree of text nodes: nothing of the text is ever parsed as HTML.
function markdown(text) {
  const body = inert.createElement("div");
  let list = null, paragraph = null;
  for (const line of text.split(/\r\n|\r|\n/)) {
    const item = /^\s*(?:([-*+])|\d+[.)])\s+(.*)$/.exec(line);
    if (item) {
      const kind = item[1] ? "ul" : "ol";
      if (list?.localName !== kind) body.append(list = inert.createElement(kind));
      const li = inert.createElement("li");
      spans(li, item[2]);
      list.append(li);
      paragraph = null;
    } else if (line.trim() === "") {
      list = paragraph = null;
    } else {
      if (!paragraph) body.append(paragraph = inert.createElement("p"));
      else paragraph.append(" "); // a single line break is none
      spans(paragraph, line);
      list = null;
    }
  }
  return body;
}

// markdownInRuns replaces the texts of runs by what an iPhone makes of them. White
// space at the ends of a run stays.
function markdownInRuns(card) {
  for (const run of card.querySelectorAll(".ac-textRun")) {
    const [, before, text, after] = /^(\s*)(.*?)(\s*)$/s.exec(run.textContent);
    const body = markdown(text), [first, second] = body.children;
    const read = first?.localName === "p" && !second ? first : body;
    run.replaceChildren(before, ...read.childNodes, after);
  }
}

function open(action) {
  const { AdaptiveCards } = globalThis;
  if (action instanceof AdaptiveCards.OpenUrlAction && /^https:/i.test(action.url ?? "")) {
    window.open(action.url, "_blank", "noopener,noreferrer");
  }
}

function instead(why, content) {
  return element("pre", "", `${why}\n\n${JSON.stringify(content, null, 2)}`);
}

export function renderCard(content, theme, client) {
  const { AdaptiveCards } = globalThis;
  if (!AdaptiveCards) return instead("Microsoft's card renderer is not installed: run make deps.", content);
  AdaptiveCards.AdaptiveCard.onProcessMarkdown = (text, result) => {
    result.outputHtml = markdown(text).innerHTML;
    result.didProcess = true;
  };
  try {
    const card = new AdaptiveCards.AdaptiveCard();
    card.hostConfig = new AdaptiveCards.HostConfig(hostConfig(theme));
    card.onExecuteAction = open;
    card.parse(content);
    const drawn = card.render();
    if (!drawn) return instead("The renderer draws nothing of this card.", content);
    if (client === "iphone") markdownInRuns(drawn);
    return drawn;
  } catch (err) {
    return instead(`The renderer cannot draw this card: ${err.message}`, content);
  }
}
