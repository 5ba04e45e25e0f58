// Analyses Kusto queries with the parser that Azure's own editors use. On standard
// input {"tables": {"TABLE": "(COLUMN:TYPE, ...)"}, "queries": {"WHERE": "QUERY"}}; on
// standard output, a line each, what is wrong: WHERE: MESSAGE: "TEXT". Nothing: all
// is well.

import { text } from 'node:stream/consumers';
import '@kusto/language-service-next/bridge.min.js';
import '@kusto/language-service-next/Kusto.Language.Bridge.min.js';

const { GlobalState, KustoCode, Symbols } = globalThis.Kusto.Language;

const { tables, queries } = JSON.parse(await text(process.stdin));
const symbols = Object.entries(tables).map(([name, columns]) => new Symbols.TableSymbol.$ctor7(name, columns, null));
const globals = GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.ctor('workspace', symbols));

for (const [where, query] of Object.entries(queries)) {
  const diagnostics = KustoCode.ParseAndAnalyze(query, globals).GetDiagnostics();
  for (let i = 0; i < diagnostics.Count; i++) {
    const d = diagnostics.getItem(i);
    console.log(`${where}: ${d.Message}: ${JSON.stringify(query.slice(d.Start, d.Start + d.Length))}`);
  }
}
