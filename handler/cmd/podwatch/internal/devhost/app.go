package devhost

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// A FunctionApp is a staged function app: what the host reads before it starts
// anything. It is immutable.
type FunctionApp struct {
	Root       string // absolute path of the staged folder
	Executable string // as host.json names it, absolute

	Functions []*Function       // sorted by name, without those in Broken
	Broken    map[string]string // function name -> why the host would not load it

	functionTimeout       time.Duration // 0: unlimited
	initializationTimeout time.Duration
	batchSize             int // extensions.eventHubs.maxEventBatchSize
	queues                queueSettings
	settings              map[string]string // app settings as the bindings see them
}

// A Function is one folder with a function.json.
type Function struct {
	Name     string
	Trigger  Binding
	Outputs  []Binding
	Retry    *RetryPolicy // nil: a failed invocation is not tried again
	Disabled bool

	schedule cron.Schedule // timerTrigger only
}

// A Binding is one entry of function.json, with %SETTING% resolved where the
// host resolves it at start.
type Binding struct {
	Type, Direction, Name, DataType, Connection string

	EventHubName, ConsumerGroup, Cardinality string // eventHubTrigger
	QueueName                                string // queueTrigger and queue
	Path                                     string // blob
	Schedule                                 string // timerTrigger
	RunOnStartup                             bool
}

// A RetryPolicy is the member "retry" of function.json, with delays that double.
type RetryPolicy struct {
	Max      int // -1: without end
	Min, Cap time.Duration
}

type queueSettings struct {
	batchSize         int
	newBatchThreshold int
	maxPolling        time.Duration
	visibility        time.Duration
	maxDequeue        int
}

var functionName = regexp.MustCompile(`(?i)^[a-z][a-z0-9_-]{0,127}$`)

// LoadApp reads host.json and each function.json that lies in an immediate
// subfolder of root. A mistake in host.json is an error, since the host does
// not start with it; a mistake in a function is kept in Broken, since the host
// loads the others. settings are the app settings, for %NAME% and connections.
func LoadApp(root string, settings map[string]string) (*FunctionApp, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	app := &FunctionApp{Root: root, Broken: map[string]string{}, settings: settings}
	if err := app.readHostFile(); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		path := filepath.Join(root, entry.Name(), "function.json")
		src, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) || err != nil && !isDir(filepath.Join(root, entry.Name())) {
			continue // not a function
		}
		var fn *Function
		if err == nil {
			fn, err = app.parseFunction(entry.Name(), src)
		}
		if err != nil {
			app.Broken[entry.Name()] = err.Error()
			continue
		}
		app.Functions = append(app.Functions, fn)
	}
	return app, nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// hostFile is the part of host.json that a custom handler with the three
// triggers depends on. Names in JSON compare without case, as for the host.
type hostFile struct {
	Version, FunctionTimeout string

	CustomHandler struct {
		Description                 map[string]any
		EnableForwardingHTTPRequest bool
		InitializationTimeout       string
	}
	Extensions struct {
		EventHubs struct{ MaxEventBatchSize *int }
		Queues    struct {
			BatchSize, NewBatchThreshold, MaxDequeueCount          *int
			MaxPollingInterval, VisibilityTimeout, MessageEncoding string
		}
	}
}

// The host's defaults for what host.json leaves out (Flex Consumption).
const (
	defaultFunctionTimeout       = 30 * time.Minute
	defaultInitializationTimeout = 30 * time.Second
	defaultBatchSize             = 100
)

func (a *FunctionApp) readHostFile() error {
	path := filepath.Join(a.Root, "host.json")
	src, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var file hostFile
	if err := json.Unmarshal(src, &file); err != nil {
		return fmt.Errorf("parse %q: %w", path, err)
	}
	if file.Version != "2.0" {
		return fmt.Errorf(`parse %q: version %q: the host reads "2.0" only`, path, file.Version)
	}
	executable, _ := file.CustomHandler.Description["defaultExecutablePath"].(string)
	if executable == "" {
		return fmt.Errorf("parse %q: customHandler.description.defaultExecutablePath names no executable", path)
	}
	if len(file.CustomHandler.Description) > 1 {
		return fmt.Errorf("parse %q: this stand-in knows no member of customHandler.description but defaultExecutablePath", path)
	}
	if a.Executable = executable; !filepath.IsAbs(executable) {
		a.Executable = filepath.Join(a.Root, executable)
	}
	var mistakes []error
	span := func(name, text string, otherwise time.Duration) time.Duration {
		v, err := parseTimeSpan(text, otherwise)
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("%s: %w", name, err))
		}
		return v
	}
	number := func(name string, value *int, otherwise, low, high int) int {
		if value == nil {
			return otherwise
		}
		if *value < low || *value > high {
			mistakes = append(mistakes, fmt.Errorf("%s: %d is not between %d and %d", name, *value, low, high))
		}
		return *value
	}
	if file.FunctionTimeout != "-1" {
		a.functionTimeout = span("functionTimeout", file.FunctionTimeout, defaultFunctionTimeout)
	}
	a.initializationTimeout = span("customHandler.initializationTimeout", file.CustomHandler.InitializationTimeout, defaultInitializationTimeout)
	a.batchSize = number("extensions.eventHubs.maxEventBatchSize", file.Extensions.EventHubs.MaxEventBatchSize, defaultBatchSize, 1, 10000)

	q := file.Extensions.Queues
	a.queues = queueSettings{
		batchSize:  number("extensions.queues.batchSize", q.BatchSize, 16, 1, 32),
		maxPolling: span("extensions.queues.maxPollingInterval", q.MaxPollingInterval, time.Minute),
		visibility: span("extensions.queues.visibilityTimeout", q.VisibilityTimeout, 0),
		maxDequeue: number("extensions.queues.maxDequeueCount", q.MaxDequeueCount, 5, 1, 1<<20),
	}
	a.queues.newBatchThreshold = number("extensions.queues.newBatchThreshold", q.NewBatchThreshold, a.queues.batchSize/2, 0, 1<<10)
	if e := q.MessageEncoding; e != "" && !strings.EqualFold(e, "base64") {
		mistakes = append(mistakes, fmt.Errorf("extensions.queues.messageEncoding: %q: this stand-in knows base64 only", e))
	}
	if file.CustomHandler.EnableForwardingHTTPRequest {
		mistakes = append(mistakes, errors.New("customHandler.enableForwardingHttpRequest: this stand-in serves no HTTP triggers"))
	}
	if err := errors.Join(mistakes...); err != nil {
		return fmt.Errorf("parse %q: %w", path, err)
	}
	return nil
}

func (a *FunctionApp) parseFunction(name string, src []byte) (*Function, error) {
	if !functionName.MatchString(name) || strings.EqualFold(name, "host") {
		return nil, fmt.Errorf("%q is not a valid function name", name)
	}
	var file struct {
		Disabled bool
		Bindings []Binding
		Retry    *retryEntry
	}
	if err := json.Unmarshal(src, &file); err != nil {
		return nil, fmt.Errorf("parse function.json: %w", err)
	}
	fn := &Function{Name: name, Disabled: file.Disabled || a.settings["AzureWebJobs."+name+".Disabled"] == "true"}
	var mistakes []error
	mistake := func(format string, args ...any) { mistakes = append(mistakes, fmt.Errorf(format, args...)) }
	names := map[string]bool{}
	triggers := 0
	for _, b := range file.Bindings {
		if b.Name == "" || names[strings.ToLower(b.Name)] {
			mistake("binding name %q is empty or used twice", b.Name)
		}
		names[strings.ToLower(b.Name)] = true
		if err := a.resolveBinding(&b); err != nil {
			mistake("binding %q: %w", b.Name, err)
		}
		switch {
		case strings.HasSuffix(strings.ToLower(b.Type), "trigger"):
			triggers++
			fn.Trigger = b
		case strings.EqualFold(b.Direction, "out"):
			fn.Outputs = append(fn.Outputs, b)
		default:
			mistake("binding %q: this stand-in knows no input bindings", b.Name)
		}
	}
	if triggers != 1 {
		mistake("%d triggers: the host wants exactly one", triggers)
	}
	if strings.EqualFold(fn.Trigger.Type, "timerTrigger") {
		var err error
		if fn.schedule, err = parseSchedule(fn.Trigger.Schedule); err != nil {
			mistake("binding %q: %w", fn.Trigger.Name, err)
		}
	}
	if r := file.Retry; r != nil {
		var err error
		if fn.Retry, err = r.policy(); err != nil {
			mistake("retry: %w", err)
		}
	}
	return fn, errors.Join(mistakes...)
}

func (a *FunctionApp) resolveBinding(b *Binding) error {
	switch strings.ToLower(b.Type) {
	case "eventhubtrigger":
		if b.Connection == "" || a.settings[b.Connection] == "" && a.settings[b.Connection+"__fullyQualifiedNamespace"] == "" {
			return fmt.Errorf("connection %q: neither that app setting nor %s__fullyQualifiedNamespace is set", b.Connection, b.Connection)
		}
		if !strings.EqualFold(b.Cardinality, "many") || !strings.EqualFold(b.DataType, "string") {
			return errors.New(`this stand-in hands over messages with cardinality "many" and dataType "string" only`)
		}
		b.ConsumerGroup = cmp.Or(b.ConsumerGroup, "$Default")
		return a.expand(&b.EventHubName, &b.ConsumerGroup)
	case "queuetrigger", "queue":
		b.Connection = cmp.Or(b.Connection, storageSetting)
		return a.expand(&b.QueueName)
	case "blob":
		b.Connection = cmp.Or(b.Connection, storageSetting)
		if err := a.expand(&b.Path); err != nil {
			return err
		}
		_, _, err := blobPath(b.Path, time.Now())
		return err
	case "timertrigger":
		return a.expand(&b.Schedule)
	}
	return fmt.Errorf("this stand-in knows no binding of type %q", b.Type)
}

// storageSetting is the connection that storage bindings use by default.
const storageSetting = "AzureWebJobsStorage"

var settingReference = regexp.MustCompile(`%([^%]+)%`)

// expand replaces %NAME% in texts by app settings.
func (a *FunctionApp) expand(texts ...*string) error {
	for _, text := range texts {
		missing := ""
		expanded := settingReference.ReplaceAllStringFunc(*text, func(ref string) string {
			name := strings.Trim(ref, "%")
			if a.settings[name] == "" {
				missing = cmp.Or(missing, name)
			}
			return a.settings[name]
		})
		if missing != "" {
			return fmt.Errorf("%q: the app setting %s is not set", *text, missing)
		}
		*text = expanded
	}
	return nil
}

// retryEntry is the member "retry" as it is written.
type retryEntry struct {
	Strategy, MinimumInterval, MaximumInterval string
	MaxRetryCount                              *int
}

func (r *retryEntry) policy() (*RetryPolicy, error) {
	switch {
	case r.MaxRetryCount == nil || *r.MaxRetryCount < -1:
		return nil, errors.New("maxRetryCount must be given and at least -1")
	case !strings.EqualFold(r.Strategy, "exponentialBackoff") || r.MinimumInterval == "" || r.MaximumInterval == "":
		return nil, fmt.Errorf("strategy %q: this stand-in knows exponentialBackoff only, with minimumInterval and maximumInterval", r.Strategy)
	}
	low, err := parseTimeSpan(r.MinimumInterval, 0)
	high, err2 := parseTimeSpan(r.MaximumInterval, 0)
	if err = errors.Join(err, err2); err == nil && high < low {
		err = errors.New("maximumInterval is shorter than minimumInterval")
	}
	return &RetryPolicy{Max: *r.MaxRetryCount, Min: low, Cap: high}, err
}

// Next is when the function's timer runs after a time; zero when it has none.
func (f *Function) Next(after time.Time) time.Time {
	if f.schedule == nil {
		return time.Time{}
	}
	return f.schedule.Next(after)
}

// parseSchedule reads the host's six-field form of cron (seconds first).
func parseSchedule(text string) (cron.Schedule, error) {
	if strings.HasPrefix(text, "@") || strings.Contains(text, "=") {
		return nil, fmt.Errorf("schedule %q is not in NCRONTAB's six fields", text)
	}
	schedule, err := cron.NewParser(cron.Second | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow).Parse(text)
	if err != nil {
		return nil, fmt.Errorf("schedule %q is not in NCRONTAB's six fields: %w", text, err)
	}
	return schedule, nil
}

var timeSpan = regexp.MustCompile(`^(?:(\d+)\.)?(\d{1,2}):(\d{1,2})(?::(\d{1,2})(\.\d{1,7})?)?$`)

// parseTimeSpan reads [d.]hh:mm[:ss[.fffffff]]; the empty text is otherwise.
func parseTimeSpan(text string, otherwise time.Duration) (time.Duration, error) {
	if text == "" {
		return otherwise, nil
	}
	m := timeSpan.FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("%q is not a time span (hh:mm:ss)", text)
	}
	part := func(i int) time.Duration { n, _ := strconv.Atoi(m[i]); return time.Duration(n) }
	if part(2) > 23 || part(3) > 59 || part(4) > 59 {
		return 0, fmt.Errorf("%q is not a time span (hh:mm:ss)", text)
	}
	fraction, _ := strconv.ParseFloat("0"+m[5], 64)
	return part(1)*24*time.Hour + part(2)*time.Hour + part(3)*time.Minute + part(4)*time.Second + time.Duration(fraction*float64(time.Second)), nil
}

// LocalSettings reads the member "Values" of local.settings.json in root. A
// file that is not there is no error: there are no settings then.
func LocalSettings(root string) (map[string]string, error) {
	path := filepath.Join(root, "local.settings.json")
	src, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var file struct {
		IsEncrypted bool
		Values      map[string]string
	}
	if err := json.Unmarshal(src, &file); err != nil {
		return nil, fmt.Errorf("parse %q: %w", path, err)
	}
	if file.IsEncrypted {
		return nil, fmt.Errorf("parse %q: the file is encrypted; run func settings decrypt", path)
	}
	return file.Values, nil
}
