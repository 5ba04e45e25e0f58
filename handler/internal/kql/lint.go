package kql

// A Warning is something in a valid query that its author hardly meant.
type Warning struct {
	Line, Column int // from 1
	Code         string
	Msg          string
}

// Lint reports what is odd about the query src, parsed as n. types may be nil.
func Lint(src string, n Node, types func(field string) Type) []Warning {
	var ws []Warning
	p := &parser{src: src, note: func(offset int, code, msg string) {
		line, column := position(src, offset)
		ws = append(ws, Warning{line, column, code, msg})
	}}
	if _, err := p.parse(); err != nil {
		return nil
	}
	return ws
}

func (p *parser) remarkOperator(at int, op string)       {}
func (p *parser) remarkField(at, end int)                {}
func (p *parser) remarkValue(at, end int, value Literal) {}
