package main

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"podwatch/handler/internal/config"
)

// A document is one of the project's Markdown files, taken apart.
type document struct {
	name     string // relative to the repository
	text     string
	commands []command
	spans    []string // code spans
	blocks   []block  // other than shell commands
	anchors  []string
}

// A command is a line of a shell block, continued lines joined, or a code span
// that begins with a program.
type command struct {
	text  string // without comments
	line  int
	block int  // number of its block in the document, 0 in running text
	azure bool // a heading above it, or its paragraph, contains "needs Azure"
}

// A block is a fenced block.
type block struct{ language, text string }

var (
	codeSpan = regexp.MustCompile("`([^`]+)`")
	heading  = regexp.MustCompile(`^(#+) (.*)`)
	link     = regexp.MustCompile(`\]\(([^)]*)\)`)
	notSlug  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	programs = regexp.MustCompile(`^(?:(?:make|(?:bin/)?podwatch|azd?|\(?cd|func|go|node|npm|git|docker|cp|export) [^-].*|infra/[\w-]+\.sh.*)$`)

	// assignments are what a command or a code span begins with, such as FAULT_RUNS=1000.
	assignments = regexp.MustCompile(`^(?:[A-Z][A-Z0-9_]+=\S+(?: |$))+`)
)

func parseDocument(name, text string) document {
	d := document{name: name, text: text}
	marked := 7 // level of the heading that says "needs Azure"
	var paragraph, fenced []string
	language, blocks, start := "", 0, 0
	endParagraph := func(line int) {
		joined := strings.Join(paragraph, "\n")
		for _, at := range codeSpan.FindAllStringSubmatchIndex(joined, -1) {
			span := strings.Join(strings.Fields(joined[at[2]:at[3]]), " ")
			d.spans = append(d.spans, span)
			if programs.MatchString(span) {
				d.commands = append(d.commands, command{
					text: span, line: line - len(paragraph) + strings.Count(joined[:at[0]], "\n"),
					azure: marked < 7 || strings.Contains(joined, "needs Azure"),
				})
			}
		}
		paragraph = nil
	}
	for i, line := range strings.Split(text+"\n", "\n") {
		title := heading.FindStringSubmatch(line)
		switch {
		case strings.HasPrefix(line, "```") && fenced == nil:
			endParagraph(i + 1)
			language, fenced, start = line[3:], []string{}, i+2
			blocks++
		case strings.HasPrefix(line, "```"):
			if language == "sh" {
				d.commands = append(d.commands, shellCommands(fenced, command{line: start, block: blocks, azure: marked < 7})...)
			} else {
				d.blocks = append(d.blocks, block{language, strings.Join(fenced, "\n")})
			}
			fenced = nil
		case fenced != nil:
			fenced = append(fenced, line)
		case title != nil:
			endParagraph(i + 1)
			d.anchors = append(d.anchors, strings.ReplaceAll(notSlug.ReplaceAllString(strings.ToLower(title[2]), ""), " ", "-"))
			if level := len(title[1]); level <= marked {
				marked = 7
				if strings.Contains(title[2], "needs Azure") {
					marked = level
				}
			}
		default:
			if line == "" || strings.HasPrefix(line, "|") || strings.HasPrefix(line, "- ") {
				endParagraph(i + 1)
			}
			paragraph = append(paragraph, line)
		}
	}
	return d
}

// shellCommands are the commands of a block's lines, each with what is known of
// the block.
func shellCommands(lines []string, of command) (commands []command) {
	for i := 0; i < len(lines); i++ {
		c := of
		c.line += i
		c.text = withoutComment(lines[i])
		for i+1 < len(lines) && (strings.HasSuffix(c.text, `\`) || strings.HasSuffix(c.text, "|")) {
			i++
			c.text = strings.TrimRight(strings.TrimSuffix(c.text, `\`), " ") + " " + withoutComment(lines[i])
		}
		if c.text != "" {
			commands = append(commands, c)
		}
	}
	return commands
}

// withoutComment removes a comment and the space around a shell line.
func withoutComment(line string) string {
	quote := rune(0)
	for i, c := range line {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '#' && (i == 0 || line[i-1] == ' '):
			return strings.TrimSpace(line[:i])
		}
	}
	return strings.TrimSpace(line)
}

// documentation reads all documents. Of CHANGELOG.md, which is about the past, the
// commands are not taken.
func documentation(t *testing.T) map[string]document {
	t.Helper()
	names, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]document{}
	for _, path := range append(names, "../README.md", "../SECURITY.md", "../CONTRIBUTING.md", "../CHANGELOG.md") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(filepath.ToSlash(path), "../")
		all[name] = parseDocument(name, string(text))
	}
	changes := all["CHANGELOG.md"]
	changes.commands = nil
	all["CHANGELOG.md"] = changes
	return all
}

// evidence is what proofs refer to: CI's steps, the Makefile, and all Go code but
// the tests of the documentation.
func evidence(t *testing.T) string {
	t.Helper()
	files := []string{"../.ci/run", "../Makefile"}
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && strings.HasSuffix(path, ".go") && !strings.HasPrefix(path, "readme") {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString("\n")
		all.Write(text)
	}
	return all.String()
}

// proofOf finds how a command is known to work. A command in running text may be
// the beginning of one that is listed; it then needs Azure if all of those do.
func proofOf(c command) (proof, bool) {
	if p, ok := proofs[c.text]; ok || c.block > 0 {
		return p, ok
	}
	text := strings.TrimPrefix(c.text, "bin/")
	found, azure := false, true
	for listed, p := range proofs {
		if strings.HasPrefix(strings.TrimPrefix(listed, "bin/")+" ", text+" ") {
			found, azure = true, azure && p.azure
		}
	}
	return proof{azure: found && azure}, found
}

// complaints reports what is wrong with the commands, links and settings of the
// documents.
func complaints(documents map[string]document, evidence string) (found []string) {
	complain := func(d document, line int, format string, args ...any) {
		found = append(found, fmt.Sprintf("%s:%d: ", d.name, line)+fmt.Sprintf(format, args...))
	}
	listed := maps.Clone(proofs)
	for _, name := range slices.Sorted(maps.Keys(documents)) {
		d := documents[name]
		for _, c := range d.commands {
			delete(listed, c.text)
			p, ok := proofOf(c)
			if !ok {
				complain(d, c.line, "no proof is listed for the command %s", c.text)
			}
			if p.azure && !c.azure {
				complain(d, c.line, "neither a heading nor the paragraph says that this needs Azure: %s", c.text)
			}
		}
		for _, at := range link.FindAllStringSubmatchIndex(d.text, -1) {
			target, line := d.text[at[2]:at[3]], 1+strings.Count(d.text[:at[0]], "\n")
			if strings.Contains(target, "://") {
				continue
			}
			path, anchor, _ := strings.Cut(target, "#")
			file := name
			if path != "" {
				file = filepath.ToSlash(filepath.Join(filepath.Dir(name), path))
			}
			if _, err := os.Stat(filepath.Join("..", file)); err != nil {
				complain(d, line, "the link %s leads nowhere", target)
			}
			if anchor != "" && !slices.Contains(documents[file].anchors, anchor) {
				complain(d, line, "%s has no heading #%s", file, anchor)
			}
		}
		texts := slices.Clone(d.spans)
		for _, c := range d.commands {
			texts = append(texts, c.text)
		}
		for _, text := range texts {
			for _, assignment := range strings.Fields(assignments.FindString(text)) {
				if setting, _, _ := strings.Cut(assignment, "="); !strings.Contains(evidence, `"`+setting+`"`) {
					complain(d, 0, "nothing reads %s", setting)
				}
			}
		}
	}
	for text := range listed {
		found = append(found, "no document has the command "+text)
	}
	return found
}

func TestDocumentation(t *testing.T) {
	documents, evidence := documentation(t), evidence(t)
	for _, c := range complaints(documents, evidence) {
		t.Error(c)
	}
	for text, p := range proofs {
		if p.run == nil && p.runBy == "" && p.seen == nil && !p.azure {
			t.Errorf("%s: nothing runs it", text)
		}
		if p.runBy != "" && proofs[p.runBy].run == nil {
			t.Errorf("%s: %s is not run", text, p.runBy)
		}
		for _, line := range p.seen {
			if !strings.Contains(evidence, "\n"+line) {
				t.Errorf("%s: neither the code nor CI has a line that begins with %q", text, line)
			}
		}
	}
	if lines := strings.Count(documents["README.md"].text, "\n"); lines > 130 {
		t.Errorf("README.md has %d lines, at most 130 are wanted", lines)
	}
	index := documents["docs/README.md"].text
	for name := range documents {
		if !strings.Contains(index, "("+strings.TrimPrefix(name, "docs/")+")") && !strings.Contains(index, "(../"+name+")") && name != "docs/README.md" {
			t.Errorf("docs/README.md has no link to %s", name)
		}
	}
	for _, name := range config.Settings() {
		if !strings.Contains(documents["docs/settings.md"].text, "`"+name+"`") {
			t.Errorf("docs/settings.md does not have the setting %s", name)
		}
	}
}

func TestDocumentationMistakesAreFound(t *testing.T) {
	sound, evidence := documentation(t), evidence(t)
	for _, c := range []struct{ name, file, old, new, want string }{
		{"a command in a block without proof", "CONTRIBUTING.md", "make bench ", "make install\nmake bench ", "no proof is listed for the command make install"},
		{"a command in the text without proof", "README.md", "## Try it", "See `az storms list`.\n\n## Try it", "for the command az storms list"},
		{"a command that was removed", "CONTRIBUTING.md", "make fuzz", "make nothing", "no document has the command make fuzz"},
		{"a mark that was removed from a heading", "docs/operate.md", "## Try a change on real data (needs Azure)", "## Try", "needs Azure: bin/podwatch send --namespace"},
		{"a mark that was removed from a paragraph", "docs/reliability.md", "(needs Azure); see", "; see", "needs Azure: bin/podwatch requeue"},
		{"a mark that belongs to another section", "docs/deploy.md", "## Remove (needs Azure)", "## Remove", "needs Azure: make destroy"},
		{"a link to a missing file", "README.md", "(docs/rules.md)", "(docs/rule.md)", "the link docs/rule.md leads nowhere"},
		{"a link to a missing heading", "docs/rules.md", "## Limits", "## Boundaries", "docs/rules.md has no heading #limits"},
		{"a setting that nothing reads", "docs/rules.md", "`RECORD_ROUTINE=on`", "`RECORD_ROUTINES=on`", "nothing reads RECORD_ROUTINES"},
		{"a variable of a test that nothing reads", "docs/reliability.md", "HOSTILE_SECONDS=60", "HOSTILE_MINUTES=1", "nothing reads HOSTILE_MINUTES"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := sound[c.file].text
			if !strings.Contains(text, c.old) {
				t.Fatalf("%s does not contain %q", c.file, c.old)
			}
			broken := maps.Clone(sound)
			broken[c.file] = parseDocument(c.file, strings.Replace(text, c.old, c.new, 1))
			found := complaints(broken, evidence)
			if !slices.ContainsFunc(found, func(s string) bool { return strings.Contains(s, c.want) }) {
				t.Errorf("want a complaint with %q, got %q", c.want, found)
			}
		})
	}
}
