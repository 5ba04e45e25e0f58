// Judges Teams messages as clients read them: one JSON object {name: message} on
// standard input, a complaint a line on standard output.
//
// - Microsoft's library must parse the card as version 1.2 without an event.
// - Every text that can hold a value of a record must be one plain text for a
//   Markdown parser with autolinks, because Teams for iOS parses Markdown in all
//   texts. Mail addresses are not taken as links: they must stay copyable.
import { createRequire } from "node:module";
import { text } from "node:stream/consumers";
import MarkdownIt from "markdown-it";

const cards = createRequire(import.meta.url)("adaptivecards/dist/adaptivecards.js");
const markdown = new MarkdownIt({ linkify: true });
markdown.linkify.set({ fuzzyEmail: false, fuzzyLink: false }).add("mailto:", null);

const complain = (name, what) => console.log(`${name}: ${what}`);

function parse(name, content) {
  const context = new cards.SerializationContext(cards.Versions.v1_2);
  const card = new cards.AdaptiveCard();
  card.parse(content, context);
  for (let i = 0; i < context.eventCount; i++) complain(name, `card: ${context.getEventAt(i).message}`);
  for (const failure of card.validateProperties().validationEvents) complain(name, `card: ${failure.message}`);
}

function judge(name, where, source) {
  const blocks = markdown.parse(source, {});
  const kinds = blocks.flatMap((block) => [block.type, ...(block.children ?? []).map((child) => child.type)]);
  if (kinds.join() !== "paragraph_open,inline,text,paragraph_close" || /www\./i.test(source)) {
    complain(name, `${where} is not plain text but ${kinds}: ${JSON.stringify(source)}`);
  }
}

function walk(name, element) {
  if (element?.type === "TextRun" && element.text.trim() !== "") judge(name, "run", element.text);
  for (const child of Object.values(element ?? {})) if (typeof child === "object") walk(name, child);
}

for (const [name, message] of Object.entries(JSON.parse(await text(process.stdin)))) {
  const { content } = message.attachments[0];
  parse(name, content);
  judge(name, "summary", message.summary);
  judge(name, "fallback text", content.fallbackText);
  walk(name, content);
}
