// Reads Bicep for the tests, where no Bicep CLI is at hand: one JSON object of
// file name to source text a line on standard input, for each one line of JSON
// on standard output. It parses and lists declarations; it knows no types.
//
//   {"a.bicep": {"errors": [{"line": 3, "text": "..."}],
//                "declarations": [{"kind": "resource", "name": "account", "line": 9,
//                  "of": "Microsoft.Storage/storageAccounts@2025-06-01",
//                  "existing": false, "secure": false, "text": "...",
//                  "value": "'Flex'", "properties": {"properties.accessTier": "'Hot'"}}]}}
//
// kind is target, param, var, type, resource, module or output; value is the
// text behind a param's, var's or output's equals sign; properties are the
// members of an object by path, also of one behind if and for.

import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Language, Parser } from 'web-tree-sitter';

await Parser.init();
const parser = new Parser();
parser.setLanguage(await Language.load(fileURLToPath(new URL('node_modules/tree-sitter-bicep/tree-sitter-bicep.wasm', import.meta.url))));

const KINDS = {
  target_scope_assignment: 'target',
  parameter_declaration: 'param',
  variable_declaration: 'var',
  type_declaration: 'type',
  resource_declaration: 'resource',
  module_declaration: 'module',
  output_declaration: 'output',
};

function* walk(node) {
  yield node;
  for (const child of node.children) yield* walk(child);
}

const unquote = (text) => text.replace(/^'|'$/g, '');

// object finds the body of a resource or module behind its condition and loop.
function object(node) {
  if (node.type === 'object') return node;
  if (node.type !== 'if_statement' && node.type !== 'for_statement') return undefined;
  return object(node.namedChildren.at(-1));
}

function flatten(node, prefix, into) {
  for (const property of node.namedChildren) {
    if (property.type !== 'object_property') continue;
    const [key, value] = property.namedChildren;
    if (!value) continue; // a nested resource, listed by itself
    const path = prefix + unquote(key.text);
    into[path] = value.text;
    if (value.type === 'object') flatten(value, `${path}.`, into);
  }
  return into;
}

function declaration(node, secure) {
  const named = node.namedChildren.filter((n) => n.type !== 'comment');
  const kind = KINDS[node.type];
  const d = { kind, name: named[0].text, line: node.startPosition.row + 1, text: node.text, secure };
  const last = named.at(-1);
  const body = object(last);
  if (kind === 'resource' || kind === 'module') {
    d.of = unquote(named[1].text);
    d.existing = node.children.some((n) => n.type === 'existing' || n.text === 'existing');
  } else if (node.children.some((n) => n.type === '=')) {
    d.value = last.text;
  }
  d.properties = body ? flatten(body, '', {}) : {};
  return d;
}

function read(source) {
  const root = parser.parse(source).rootNode;
  const errors = [];
  const declarations = [];
  let secure = false;
  for (const node of walk(root)) {
    if (node.isError || node.isMissing) errors.push({ line: node.startPosition.row + 1, text: node.text.slice(0, 80) || `missing ${node.type}` });
    if (node.type === 'decorators') secure = /@(sys\.)?secure\(\)/.test(node.text);
    if (KINDS[node.type] && node.namedChildren.length > 0) {
      declarations.push(declaration(node, secure));
      secure = false;
    }
  }
  return { errors, declarations };
}

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  const files = JSON.parse(line);
  console.log(JSON.stringify(Object.fromEntries(Object.entries(files).map(([name, source]) => [name, read(source)]))));
}
