package sdk

import (
	"fmt"
	"os"
	"path"
	"runtime"
	"strings"
)

// Debug writes a note for the policy's author.
func Debug(format string, values ...any) { write(0, fmt.Sprintf(format, values...)) }

// Note writes a note for the operator, as fmt.Println does.
func Note(format string, values ...any) { write(1, fmt.Sprintf(format, values...)) }

// Odd says that something is odd.
func Odd(format string, values ...any) { write(2, fmt.Sprintf(format, values...)) }

// Wrong says that something is wrong.
func Wrong(format string, values ...any) { write(3, fmt.Sprintf(format, values...)) }

// TellPanic writes what a panic says, and where, into the policy's log, and breaks off. It must be
// deferred.
func TellPanic() {
	panicked := recover()
	if panicked == nil {
		return
	}
	text := strings.TrimPrefix(fmt.Sprint(panicked), "runtime error: ")
	if at := place(); at != "" {
		text += " at " + at
	}
	Wrong("%s", text)
	os.Exit(2)
}

// The innermost place in the policy's own files, or else outside of the runtime.
func place() string {
	var callers [64]uintptr
	frames := runtime.CallersFrames(callers[:runtime.Callers(3, callers[:])])
	other := ""
	for {
		frame, isMore := frames.Next()
		at := fmt.Sprintf("%s:%d", path.Base(frame.File), frame.Line)
		if strings.HasPrefix(frame.Function, "main.") {
			return at
		}
		if other == "" && !strings.HasPrefix(frame.Function, "runtime.") {
			other = at
		}
		if !isMore {
			return other
		}
	}
}
